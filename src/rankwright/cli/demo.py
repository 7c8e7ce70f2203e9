"""`rankwright demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from rankwright.cli.failures import NOT_BETTER
from rankwright.cli.screen import Debug, Json, Quiet, open_screen
from rankwright.cli.tables import ranking_table
from rankwright.cli.train import show_result
from rankwright.errors import InputError

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def demo(
    output: Annotated[
        str, typer.Option("--output", metavar="DIR", help="Folder for the reranker.")
    ] = "rankwright-demo",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 12,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A few steps only: shows that it runs, not how well."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted demo.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in the output folder.")
    ] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a code-search reranker on Python's own library, without any download.

    The queries are docstrings, the documents the functions below them. Needs the encoder that
    comes with: pip install 'rankwright\\[demo]'. The exit code is 3 if the result is not better.

    Examples:

      rankwright demo
      rankwright demo --quick --output /tmp/demo
      rankwright demo --seed 7 --overwrite --json > demo.json
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite contradict each other; give one.")
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.recipes.demo import DemoOptions, run_demo
        from rankwright.recipes.pipeline import PipelineOptions

        options = PipelineOptions(resume=resume, overwrite=overwrite, progress=screen.progress)
        found = run_demo(DemoOptions(output=output, seed=seed, quick=quick), options)
        example = found.example
        show_result(
            screen,
            found.pipeline,
            ranking_table(example["ranking"], f"Found for: {example['query']}"),
            values={**found.pipeline.to_dict(), "example": example},
        )
    if not found.pipeline.better:
        raise typer.Exit(NOT_BETTER)
