"""`rankwright evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rankwright.cli.flags import (
    DATA_FLAGS,
    SEARCH_FLAGS,
    Config,
    Settings,
    read_recipe,
    recipe_flags,
)
from rankwright.cli.screen import Debug, Json, Quiet, open_screen
from rankwright.cli.tables import comparison_lines, systems_table

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

FLAGS = {
    **DATA_FLAGS,
    **SEARCH_FLAGS,
    "--depth": "first_stage.depth",
    "--max-length": "model.max_length",
    "--precision": "model.precision",
    "--max-test-queries": "evaluation.max_test_queries",
    "--seed": "seed",
}


@app.command()
@recipe_flags(FLAGS)
def evaluate(
    overrides: dict[str, Any],
    model: Annotated[
        str, typer.Option("--model", metavar="DIR_OR_NAME", help="The model to judge.")
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="DIR_OR_NAME", help="Another model to compare with."),
    ] = None,
    split: Annotated[
        str,
        typer.Option("--split", help="Which queries: test, dev, train, or all of the data."),
    ] = "test",
    first_stage: Annotated[
        str | None,
        typer.Option(
            "--first-stage",
            metavar="bm25|dense|RUN.trec",
            help="What is reranked: bm25, dense (needs --embedder), or a TREC run file. Dense if "
            "an embedder is named, else bm25.",
        ),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measures",
            help="Such as nDCG@10,RR@10,AP,R@50; named as in ir-measures. May be repeated.",
        ),
    ] = None,
    save_run: Annotated[
        str | None,
        typer.Option("--save-run", metavar="FILE", help="Write the model's rankings as TREC run."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            help="What runs --model: torch, or for an export onnx, openvino, native or auto, "
            "perhaps with its precision, as in onnx:int8. --base is run by torch.",
        ),
    ] = "torch",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run file if it exists.")
    ] = False,
    config: Config = None,
    settings: Settings = None,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a model beside the first stage that it reranks.

    Only what the first stage found is reranked, as in a real search. Differences come with 95 %
    intervals and p-values of a paired test. Data without a test split is divided as in training;
    name --split all for a file that holds test queries only.

    Examples:

      rankwright evaluate --model my-reranker --data beir-folder

      rankwright evaluate --model my-reranker \\
          --config my-reranker/recipe.yaml \\
          --base cross-encoder/ms-marco-MiniLM-L6-v2

      rankwright evaluate --model my-reranker --data heldout.jsonl --split all \\
          --measures nDCG@10,R@50 --depth 100 \\
          --first-stage bm25.run --save-run my-reranker.run --json

      rankwright evaluate --model my-reranker --backend onnx:int8 \\
          --base my-reranker --data beir-folder
    """
    with open_screen(json_output, quiet, debug) as screen:
        if measures:
            names = [name.strip() for text in measures for name in text.split(",")]
            overrides["evaluation.measures"] = [name for name in names if name]
        # the model stands where the recipe names the base, and nothing is written to its output
        overrides |= {"model.base": model, "output": "."}
        recipe = read_recipe(config, overrides, settings)

        from rankwright.data import load_data, write_run
        from rankwright.recipes.evaluate import EvaluateOptions, evaluate_model
        from rankwright.recipes.outputs import refuse_existing
        from rankwright.recipes.searching import Search

        if save_run is not None:
            refuse_existing(save_run, overwrite)
        data = load_data(recipe.data.source, recipe.data.load_options(recipe.seed))
        found = evaluate_model(
            data,
            EvaluateOptions(
                model=model,
                search=Search(
                    recipe.first_stage, first_stage, recipe.first_stage.depth, screen.progress
                ),
                base=base,
                split=split,
                measures=recipe.evaluation.measures,
                max_queries=recipe.evaluation.max_test_queries,
                max_length=recipe.model.max_length,
                precision=recipe.model.precision,
                backend=backend,
            ),
        )
        if save_run is not None:
            write_run(found.run, save_run)
        screen.result(
            found.to_dict(),
            systems_table(
                found.rows,
                f"{found.queries} of {found.all_queries} queries (split {found.split}); top "
                f"{found.depth} of {found.first_stage}"
                + ("" if found.backend == "torch" else f"; the model runs on {found.backend}"),
            ),
            comparison_lines(found.comparisons),
            f"{found.first_stage} found {found.recall:.1%} of the relevant documents; no reranker "
            "can do better than that.",
        )
        for warning in found.warnings:
            screen.warn(warning)
        if save_run is not None:
            screen.note(f"The model's rankings are in {save_run}.")
