"""`rankwright verify`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rankwright.cli.export import MaxDifference, MaxDrop, MinTau, Threads
from rankwright.cli.failures import DISAGREE
from rankwright.cli.screen import Debug, Json, Quiet, open_screen
from rankwright.errors import RankwrightError

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of a model.")],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="ADDRESS",
            help="A running server to ask as well, such as http://127.0.0.1:8080.",
        ),
    ] = None,
    server: Annotated[
        bool,
        typer.Option(
            "--server/--no-server",
            help="Start rankwright serve on this machine and ask it, if there is no --url.",
        ),
    ] = True,
    schema: Annotated[
        str, typer.Option("--schema", help="What the server speaks: tei, cohere, or auto.")
    ] = "auto",
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="RANKWRIGHT_API_KEY", help="Sent to the server as bearer token."
        ),
    ] = None,
    min_tau: MinTau = None,
    max_ndcg_drop: MaxDrop = None,
    max_difference: MaxDifference = None,
    threads: Threads = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record/--no-record", help="Write the findings to the model's exports.json."
        ),
    ] = True,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Replay a model's golden pairs on every backend, and compare the scores.

    The golden pairs and their float32 scores were saved by rankwright export. They are scored by
    PyTorch, if it is installed, by every exported model, and over HTTP. The exit code is 4 if
    scores disagree; Reranker then leaves those exports alone.

    Examples:

      rankwright verify my-reranker

      rankwright verify my-reranker --url http://127.0.0.1:8080 --json
    """
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.export.http_scores import HttpOptions
        from rankwright.export.verify import VerifyOptions, verify_model

        options = VerifyOptions(
            http=None if url is None else HttpOptions(url, schema, api_key),
            min_kendall_tau=min_tau,
            max_ndcg_drop=max_ndcg_drop,
            max_difference=max_difference,
            threads=threads,
            record=record,
        )
        notes: list[str] = []
        with _own_server(model, notes) if server and url is None else nullcontext() as address:
            if address is not None:
                options = replace(options, http=HttpOptions(address, schema))
            found = verify_model(model, options)
        table = Table(title=Text(found.golden), title_justify="left")
        table.add_column("backend")
        table.add_column("agrees")
        for name in ("Kendall tau", "nDCG@10", "largest difference"):
            table.add_column(name, justify="right")
        for check in found.checks:
            agrees = {True: "yes", False: "NO", None: "not run"}[check.ok]
            a = check.agreement
            numbers = (
                ("", "", "")
                if a is None
                else (
                    f"{a.kendall_tau:.4f}",
                    f"{-a.ndcg_drop or 0.0:+.4f}",
                    f"{a.max_score_difference:.2g}",
                )
            )
            table.add_row(Text(check.name), agrees, *numbers)
        notes += [f"{c.name}: {c.note}" for c in found.checks if c.note]
        screen.result(found.to_dict(), table, *notes)
    if not found.ok:
        raise typer.Exit(DISAGREE)


@contextmanager
def _own_server(model: str, notes: list[str]) -> Iterator[str | None]:
    """The address of this package's server for the model; None, and a note, if it cannot run."""
    try:
        from rankwright.serving.loopback import on_loopback
        from rankwright.serving.model import ModelChoice, open_model
    except ModuleNotFoundError as error:
        notes.append(f"server: not run, {error.name} is missing: pip install 'rankwright[serve]'")
        yield None
        return
    try:
        served = open_model(ModelChoice(model))
    except RankwrightError as error:
        notes.append(f"server: not run: {error}")
        yield None
        return
    with on_loopback(served) as address:
        yield address
