"""`rankwright serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rankwright.cli.screen import Debug
from rankwright.errors import DataNotFoundError, InputError, MissingDependencyError

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of a model.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes; each loads the model.")
    ] = 1,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            help="auto, torch, onnx, openvino or native. auto takes an exported model of the "
            "folder that agrees with float32, else torch.",
        ),
    ] = "auto",
    device: Annotated[
        str | None, typer.Option("--device", help="For torch: cpu, cuda, ...")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="For torch auto, float32, bfloat16, float16 or int16; for an exported model fp32, "
            "bf16, int16 or int8.",
        ),
    ] = "auto",
    name: Annotated[
        str | None, typer.Option("--name", help="Model name in answers; the folder's if left.")
    ] = None,
    api_keys: Annotated[
        str | None,
        typer.Option(
            "--api-keys",
            metavar="FILE",
            help="File with one key per line; requests must bring one. The environment variable "
            "RANKWRIGHT_API_KEYS may hold them instead, separated by commas.",
        ),
    ] = None,
    max_documents: Annotated[
        int, typer.Option("--max-documents", min=1, help="Most documents in one request.")
    ] = 1000,
    max_body_mb: Annotated[
        float, typer.Option("--max-body-mb", help="Largest request body, in MiB.")
    ] = 8.0,
    max_request_tokens: Annotated[
        int,
        typer.Option("--max-request-tokens", min=1, help="Most tokens of one request's pairs."),
    ] = 1_000_000,
    max_requests: Annotated[
        int, typer.Option("--max-requests", min=1, help="Requests at once; more get 429.")
    ] = 512,
    max_queue_tokens: Annotated[
        int,
        typer.Option("--max-queue-tokens", min=1, help="Tokens waiting to be scored; more: 429."),
    ] = 4_000_000,
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", min=1, help="Most tokens in one forward pass.")
    ] = None,
    deadline: Annotated[
        float, typer.Option("--deadline", help="Seconds after which a request gets 504.")
    ] = 60.0,
    body_seconds: Annotated[
        float,
        typer.Option(
            "--body-seconds", help="Seconds a client may stall before it loses its connection."
        ),
    ] = 20.0,
    long_documents: Annotated[
        str,
        typer.Option(
            "--long-documents",
            help="Documents longer than the model reads: first (cut), or max or mean of the "
            "scores of overlapping windows.",
        ),
    ] = "first",
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Write queries, not only figures, to the log.")
    ] = False,
    playground: Annotated[
        bool, typer.Option("--playground/--no-playground", help="Show a page to try it on at /.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Answer rerank requests over HTTP, as Cohere, Jina, TEI and vLLM do.

    Clients of those find their routes: /v2/rerank, /v1/rerank, /rerank, /score, /predict. The
    routes are described at /docs; /health, /ready, /info and /metrics are for operators. SIGTERM
    lets running requests end.

    Examples:

      rankwright serve my-model

      rankwright serve my-model --host 0.0.0.0 --port 80 --workers 2 \\
          --api-keys keys.txt --long-documents max
    """
    try:
        from rankwright.serving.model import ModelChoice
        from rankwright.serving.run import ServeOptions, run
        from rankwright.serving.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"rankwright serve needs {error.name}. Install: pip install 'rankwright[serve]'"
        ) from None
    settings = ServerSettings(
        model_name=name or Path(model).name,
        api_keys=_keys(api_keys),
        max_body_bytes=int(max_body_mb * 2**20),
        max_documents=max_documents,
        max_request_tokens=max_request_tokens,
        max_requests=max_requests,
        max_queue_tokens=max_queue_tokens,
        batch_tokens=batch_tokens,
        deadline_seconds=deadline,
        body_seconds=body_seconds,
        long_documents=long_documents,
        log_texts=log_queries,
        playground=playground,
    )
    options = ServeOptions(ModelChoice(model, backend, device, precision), host, port, workers)
    run(options, settings)


def _keys(file: str | None) -> tuple[str, ...]:
    if file is None:
        given = os.environ.get("RANKWRIGHT_API_KEYS", "").split(",")
    else:
        try:
            given = Path(file).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataNotFoundError(f"--api-keys: {file} does not exist.") from None
        except OSError as error:
            raise DataNotFoundError(
                f"--api-keys: {file} cannot be read: {error.strerror}. In a container the "
                "server is not root: let others read the file."
            ) from None
    keys = tuple(key.strip() for key in given if key.strip())
    if file is not None and not keys:
        raise InputError(
            f"--api-keys: {file} holds no key, and the server would be open. "
            "Write one key per line."
        )
    return keys
