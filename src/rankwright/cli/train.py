"""`rankwright train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rankwright.cli.failures import NOT_BETTER
from rankwright.cli.flags import (
    DATA_FLAGS,
    SEARCH_FLAGS,
    Config,
    Settings,
    read_recipe,
    recipe_flags,
)
from rankwright.cli.screen import Debug, Json, Quiet, Screen, open_screen
from rankwright.cli.tables import systems_table
from rankwright.errors import InputError

__all__ = ["app", "show_result"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

FLAGS = {
    "--base": "model.base",
    "--output": "output",
    "--seed": "seed",
    **DATA_FLAGS,
    "--split": "data.split",
    "--revision": "data.revision",
    **SEARCH_FLAGS,
    "--depth": "first_stage.depth",
    "--negatives": "mining.num_negatives",
    "--max-length": "model.max_length",
    "--precision": "model.precision",
    "--prompt": "model.prompt",
    "--loss": "training.loss",
    "--epochs": "training.epochs",
    "--learning-rate": "training.learning_rate",
    "--queries-per-step": "training.queries_per_step",
    "--max-steps": "training.max_steps",
    "--max-test-queries": "evaluation.max_test_queries",
}


@app.command()
@recipe_flags(FLAGS)
def train(
    overrides: dict[str, Any],
    config: Config = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run in the same output.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in the output folder.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe, print it in full and stop.")
    ] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a reranker on your data and prove that it is better.

    Finds candidates and hard negatives with a first stage, trains, and compares first stage, base
    and result on queries kept apart. The exit code is 3 if the result is not better.

    Examples:

      rankwright train --data pairs.jsonl --output my-reranker \\
          --base microsoft/MiniLM-L12-H384-uncased

      rankwright train --data beir-folder --output my-reranker \\
          --base cross-encoder/ms-marco-MiniLM-L6-v2 \\
          --embedder sentence-transformers/all-MiniLM-L6-v2 --max-length 256

      rankwright train --data clicks.csv --query-column search \\
          --document-column page --label-column clicked \\
          --base bert-base-uncased --output my-reranker

      rankwright train --config recipe.yaml --epochs 2 --set training.warmup=0.2
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite contradict each other; give one.")
    with open_screen(json_output, quiet, debug) as screen:
        recipe = read_recipe(config, overrides, settings)
        if dry_run:
            from rankwright.recipes.yaml_io import dump_recipe

            shown = [] if screen.json else [dump_recipe(recipe).strip()]
            screen.result(recipe.resolved(), *shown)
            return
        from rankwright.recipes.pipeline import PipelineOptions, run_pipeline

        options = PipelineOptions(resume=resume, overwrite=overwrite, progress=screen.progress)
        result = run_pipeline(recipe, options)
        show_result(screen, result)
    if not result.better:
        raise typer.Exit(NOT_BETTER)


def show_result(screen: Screen, result: Any, *more: Any, values: Any = None) -> None:
    """The table of a run, its verdict and what to do next.

    Args:
        screen: Where to print.
        result: A `PipelineResult`.
        more: Printed after the verdict.
        values: For JSON, instead of the result alone.
    """
    table = systems_table(result.rows, "On the test queries")
    screen.result(result.to_dict() if values is None else values, table, result.verdict, *more)
    for warning in result.warnings:
        screen.warn(warning)
    minutes = result.seconds / 60
    if result.model_path is not None:
        screen.note(f"Saved in {result.model_path} after {minutes:.1f} minutes. Next, try:")
        screen.note(
            f'  rankwright rank --model {result.model_path} --query "…" --documents docs.txt'
        )
    else:
        screen.note(
            f"No model is recommended after {minutes:.1f} minutes; what was tried is in "
            f"{result.output}. More or cleaner data, another base or --learning-rate may help."
        )
