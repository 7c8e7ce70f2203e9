"""`rankwright init`."""

from __future__ import annotations

from typing import Annotated

import typer

from rankwright.cli.screen import Debug, Json, Quiet, open_screen

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def init(
    path: Annotated[str, typer.Argument(help="The file to write.")] = "recipe.yaml",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a recipe with every option, its meaning and its default.

    Delete from it what you do not need; what is not there keeps its default.

    Examples:

      rankwright init
      rankwright init recipes/german.yaml
      rankwright init recipe.yaml --force
    """
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.recipes.yaml_io import write_template

        write_template(path, overwrite=force)
        screen.result({"recipe": path}, f"Wrote {path}.")
        screen.note(f"Edit data, model and output in it, then: rankwright train --config {path}")
