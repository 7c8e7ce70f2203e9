"""`rankwright`: the commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from rankwright import __version__
from rankwright.cli.group import CommandGroup

__all__ = ["app", "main"]

app = typer.Typer(
    name="rankwright",
    cls=CommandGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rankwright {__version__}")
        raise typer.Exit


@app.callback()
def rankwright(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turns your own queries and documents into a reranker that measurably beats what you have.

    Examples:

      rankwright demo
      rankwright train --data pairs.jsonl --base bert-base-uncased --output my-model
      rankwright rank --model my-model --query "sort a list" --documents docs.txt
      rankwright evaluate --model my-model --data beir-folder

    Every command has its own examples: rankwright COMMAND --help. With --json a command prints
    its result, and nothing else, on standard output. Exit codes: 0 done, 1 a fault of Rankwright,
    2 a mistake in options or data, 3 trained but not better, 4 scores that disagree,
    130 interrupted.
    """


def main() -> None:
    """Runs the command line; never returns."""
    app(prog_name="rankwright")


if __name__ == "__main__":
    main()
