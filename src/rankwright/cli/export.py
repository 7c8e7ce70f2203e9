"""`rankwright export`."""

from __future__ import annotations

from typing import Annotated

import typer

from rankwright.cli.screen import Debug, Json, Quiet, open_screen

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

MinTau = Annotated[
    float | None,
    typer.Option("--min-tau", help="Least Kendall tau with float32; each precision has its own."),
]
MaxDrop = Annotated[
    float | None, typer.Option("--max-ndcg-drop", help="Largest drop of nDCG@10 from float32.")
]
MaxDifference = Annotated[
    float | None,
    typer.Option(
        "--max-difference",
        help="Largest difference of a score from float32, as a part of the scores' range.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Cores to use; all of them if left.")
]


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of a model.")],
    backend: Annotated[
        str, typer.Option("--backend", help="onnx, openvino or native (our own code, for AVX2).")
    ] = "onnx",
    precision: Annotated[
        str,
        typer.Option(
            "--precision", help="fp32, bf16 (openvino), int16 (native) or int8 (onnx, openvino)."
        ),
    ] = "fp32",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="A folder for deployment, without weights for PyTorch; the model's own folder if "
            "left.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Your data, as for training: golden pairs are chosen from its test queries.",
        ),
    ] = None,
    golden: Annotated[
        str | None,
        typer.Option(
            "--golden",
            metavar="FILE",
            help="Golden pairs: JSON Lines with query, document and perhaps label, or another "
            "model's golden.json.",
        ),
    ] = None,
    quantisation: Annotated[
        str,
        typer.Option(
            "--quantization", help="dynamic or static, for ONNX in int8; OpenVINO is static."
        ),
    ] = "dynamic",
    proof_queries: Annotated[
        int,
        typer.Option(
            "--proof-queries",
            min=0,
            help="Test queries of --data, beside the golden ones, that nDCG@10 is measured on in "
            "int16, int8 and bf16. The more, the surer its drop.",
        ),
    ] = 300,
    max_tries: Annotated[
        int,
        typer.Option("--max-tries", min=1, help="Most mixtures of int8 and float32 to try."),
    ] = 16,
    min_tau: MinTau = None,
    max_ndcg_drop: MaxDrop = None,
    max_difference: MaxDifference = None,
    threads: Threads = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a former export of the same kind.")
    ] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export a model for machines without PyTorch, and prove that it still scores alike.

    Scores of golden pairs are compared with float32: Kendall's tau, nDCG@10 and the largest
    difference. Layers that do too much harm in int8 stay in float32; an export that does not agree
    is not kept. The pairs and their scores are saved beside the model for rankwright verify.

    Examples:

      rankwright export my-reranker --precision int8 --data my-data

      rankwright export my-reranker --backend openvino --precision int8 \\
          --golden pairs.jsonl --output my-deployment
    """
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.export.golden_pairs import PairOptions
        from rankwright.export.options import ExportOptions
        from rankwright.export.pipeline import export_model

        options = ExportOptions(
            backend=backend,
            precision=precision,
            output=output,
            pairs=PairOptions(data=data, file=golden, proof=proof_queries),
            quantisation=quantisation,
            min_kendall_tau=min_tau,
            max_ndcg_drop=max_ndcg_drop,
            max_difference=max_difference,
            max_tries=max_tries,
            overwrite=overwrite,
            threads=threads,
        )
        found = export_model(model, options)
        screen.result(
            found.to_dict(),
            f"{found.folder}/{found.file}: {found.size / 2**20:,.1f} MiB, computed in "
            f"{found.computes}. {found.agreement} on {found.golden}.",
            *found.notes,
        )
        screen.note(
            f"Run it: rankwright.Reranker({found.folder!r}). Compare and measure all exports: "
            f"rankwright verify {found.folder}; rankwright bench {found.folder}"
        )
