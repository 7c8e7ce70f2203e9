"""Flags made from the options of a recipe, so that help, type and default have one source."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import wraps
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich.markup import escape

from rankwright.recipes.options import Section, default_of, docs_of, types_of
from rankwright.recipes.recipe import Recipe
from rankwright.recipes.yaml_io import load_recipe, parse_setting

__all__ = ["DATA_FLAGS", "SEARCH_FLAGS", "Config", "Settings", "read_recipe", "recipe_flags"]

DATA_FLAGS = {
    "--data": "data.source",
    "--query-column": "data.query_column",
    "--document-column": "data.document_column",
    "--label-column": "data.label_column",
    "--negative-column": "data.negative_columns",
    "--subset": "data.subset",
    "--sql": "data.sql",
    "--relevance-threshold": "data.relevance_threshold",
    "--drop-empty": "data.drop_empty",
    "--dev-fraction": "data.dev_fraction",
    "--test-fraction": "data.test_fraction",
    "--max-queries": "data.max_queries",
}
SEARCH_FLAGS = {
    "--embedder": "first_stage.embedder",
    "--embedder-max-length": "first_stage.embedder_max_length",
    "--language": "first_stage.language",
}

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A YAML recipe (see: rankwright init). Flags go before what it says.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.OPTION=VALUE",
        help="Any other option of a recipe, such as training.warmup=0.2. May be repeated.",
    ),
]

MAIN = ("data.source", "model.base", "output")
"""Shown before all others."""

Command = Callable[..., None]


def recipe_flags(flags: Mapping[str, str]) -> Callable[[Command], Command]:
    """Gives a command flags for options of a recipe.

    The command has a parameter ``overrides``, in which it gets ``"section.option"`` -> value for
    the flags that were used.

    Args:
        flags: Flag -> ``"section.option"``.
    """
    names = {flag.removeprefix("--").replace("-", "_"): flag for flag in flags}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            given = {flags[flag]: values.pop(name) for name, flag in names.items()}
            # an option that may be repeated is an empty list where it was not used
            used = {k: v for k, v in given.items() if v is not None and v != []}
            command(overrides=used, **values)

        made = [_parameter(name, flag, flags[flag]) for name, flag in names.items()]
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            *made,
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "overrides"),
        ]
        # what Typer reads
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _parameter(name: str, flag: str, option: str) -> inspect.Parameter:
    section, field = _find(option)
    kind = types_of(section)[field]
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    repeated = get_origin(kind) is tuple
    if repeated:
        kind = list[str]
    elif get_origin(kind) is Literal:
        kind = str
    help_text = docs_of(section)[field].replace(" (--data)", "").replace(" (--base)", "")
    help_text = help_text.replace(" (--output)", "")
    if repeated:
        help_text += " May be repeated."
    default = default_of(section, field)
    if default is not MISSING and default not in (None, (), False):
        help_text += f" Default: {default}."
    in_front = option in MAIN or section is Recipe
    info = typer.Option(
        flag,
        help=escape(help_text),
        show_default=False,
        rich_help_panel="Options" if in_front else f"Recipe: {section.SECTION}",
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, info],
    )


def _find(option: str) -> tuple[type[Section], str]:
    section, _, field = option.rpartition(".")
    return (types_of(Recipe)[section] if section else Recipe), field


def read_recipe(
    config: str | None, overrides: Mapping[str, Any], settings: list[str] | None
) -> Recipe:
    """The recipe of ``--config``, ``--set`` and the flags, the latter going first."""
    return load_recipe(config, {**dict(map(parse_setting, settings or [])), **overrides})
