"""`rankwright mine`."""

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

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

FLAGS = {
    **DATA_FLAGS,
    **SEARCH_FLAGS,
    "--negatives": "mining.num_negatives",
    "--range-min": "mining.range_min",
    "--range-max": "mining.range_max",
    "--margin": "mining.relative_margin",
    "--sampling": "mining.sampling_strategy",
    "--random-negatives": "mining.random_negatives",
    "--seed": "seed",
}


@app.command()
@recipe_flags(FLAGS)
def mine(
    overrides: dict[str, Any],
    output: Annotated[
        str,
        typer.Option(
            "--output", metavar="FILE", help="Where to write; ends in .jsonl, .csv or .parquet."
        ),
    ],
    shape: Annotated[
        str,
        typer.Option("--format", help="triplet, n-tuple, labeled-pair or labeled-list."),
    ] = "triplet",
    split: Annotated[
        str,
        typer.Option("--split", help="Which queries: train, dev, test, or all of the data."),
    ] = "train",
    first_stage: Annotated[
        str | None,
        typer.Option(
            "--first-stage",
            metavar="bm25|dense|RUN.trec",
            help="What finds candidates: bm25, dense (needs --embedder), or a TREC run file. Dense "
            "if an embedder is named, else bm25.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output file if it exists.")
    ] = False,
    config: Config = None,
    settings: Settings = None,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Mine hard negatives: documents that look relevant and are not.

    Writes training rows that Rankwright and Sentence Transformers read, by default with the
    negatives that rankwright train would use: some drawn from the best candidates and some from
    the whole corpus. For the hardest alone, add --sampling top --random-negatives 0.

    Dev and test queries are left out unless --split says otherwise.

    Examples:

      rankwright mine --data pairs.jsonl --output triplets.jsonl

      rankwright mine --data beir-folder --output train.parquet \\
          --format labeled-list --negatives 8 --margin 0.05 \\
          --embedder sentence-transformers/all-MiniLM-L6-v2

      rankwright mine --data pairs.csv --output pairs-mined.csv \\
          --format labeled-pair --range-min 5 --random-negatives 2 --split all
    """
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.recipes.mine_file import (
            MineOptions,
            check_mined_path,
            mine_rows,
            write_rows,
        )
        from rankwright.recipes.outputs import refuse_existing

        check_mined_path(refuse_existing(output, overwrite), shape)
        # no model is trained here, so what a recipe says of it does not matter
        overrides |= {"model.base": "none", "output": output}
        recipe = read_recipe(config, overrides, settings)

        from rankwright.data import load_data
        from rankwright.recipes.searching import Search

        data = load_data(recipe.data.source, recipe.data.load_options(recipe.seed))
        if first_stage is None and recipe.mining.stages in ("bm25", "dense"):
            first_stage = recipe.mining.stages
        search = Search(recipe.first_stage, first_stage, progress=screen.progress)
        found = mine_rows(data, MineOptions(search, recipe.mining, shape, split, recipe.seed))
        write_rows(found.rows, output)
        summary = {
            "output": output,
            "format": shape,
            "rows": len(found.rows),
            "first_stage": found.first_stage,
            "queries": found.queries,
            "positives": found.positives,
            "negatives": found.negatives,
            "queries_with_too_few": found.short,
        }
        screen.result(
            summary,
            f"{len(found.rows):,} rows are in {output}: {found.negatives:,} negatives found with "
            f"{found.first_stage} for {found.positives:,} relevant documents of "
            f"{found.queries:,} queries.",
        )
        if found.short:
            screen.warn(f"{found.short:,} queries have fewer negatives than asked for.")
        screen.note(f"Next, try: rankwright train --data {output} --base … --output my-reranker")
