"""`rankwright rank`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rankwright.cli.screen import Debug, Json, Quiet, open_screen
from rankwright.cli.tables import ranking_table
from rankwright.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def rank(
    model: Annotated[
        str, typer.Option("--model", metavar="DIR_OR_NAME", help="Folder or hub name of a model.")
    ],
    documents: Annotated[
        str,
        typer.Option(
            "--documents",
            metavar="FILE",
            help="A .txt file with one document per line; a JSON, JSON Lines, CSV, TSV or Parquet "
            "file with a column text or document, and perhaps id; or - for lines on standard "
            "input.",
        ),
    ],
    query: Annotated[str | None, typer.Option("--query", metavar="TEXT", help="One query.")] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="Many queries, in a file like that of the documents; all documents are ranked "
            "for each.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where the rankings of --queries go: a TREC run (.trec, .run, .res) or JSON Lines "
            "(.jsonl).",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="How many documents to show; all if left.")
    ] = None,
    document_column: Annotated[
        str | None, typer.Option("--document-column", help="Column of the documents.")
    ] = None,
    query_column: Annotated[
        str | None, typer.Option("--query-column", help="Column of the queries.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=3, help="Most tokens per pair; the model's own if left."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="auto, torch, onnx, openvino or native. auto takes an exported model of the "
            "folder that agrees with float32, else torch. Left out: torch where it is installed, "
            "else auto.",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="For torch auto, float32, bfloat16, float16 or int16; for an exported model fp32, "
            "bf16, int16 or int8.",
        ),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output file if it exists.")
    ] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rank documents for a query, or for many.

    Works without PyTorch where the folder holds an exported model (rankwright export).
    With --queries and --json, standard output gets one line of JSON per query.

    Examples:

      rankwright rank --model my-model --query "sort a list" --documents docs.txt

      rankwright rank --model my-model --query "sort a list" \\
          --documents docs.jsonl --top-k 5 --json

      grep -h sort *.md | rankwright rank --model my-model --query "sort a list" \\
          --documents -

      rankwright rank --model my-model --queries queries.jsonl \\
          --documents corpus.jsonl --top-k 100 --output my.run
    """
    if (query is None) == (queries is None):
        raise InputError("Give either --query TEXT or --queries FILE.")
    if queries is not None and output is None and not json_output:
        raise InputError("--queries needs --output FILE, or --json for standard output.")
    if query is not None and output is not None:
        raise InputError("--output goes with --queries; use --json for a single query.")
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.recipes import rank_files
        from rankwright.recipes.outputs import refuse_existing

        if output is not None:
            rank_files.check_output(refuse_existing(output, overwrite))
        texts = (
            {"query": rank_files.checked_query(query)}
            if query is not None
            else rank_files.read_texts(str(queries), "query", query_column)
        )
        found = rank_files.rank_texts(
            texts,
            rank_files.read_texts(documents, "document", document_column),
            rank_files.RankOptions(model, top_k, max_length, precision, screen.progress, backend),
        )
        if query is not None:
            only = next(found)
            values: dict[str, Any] = {"query": query, "ranking": only["ranking"]}
            screen.result(values, ranking_table(only["ranking"]))
        elif output is not None:
            count = rank_files.write_rankings(found, output)
            summary = f"Rankings of {count} queries are in {output}."
            screen.result({"output": output, "queries": count}, summary)
        else:
            for ranking in found:
                screen.line(ranking)
