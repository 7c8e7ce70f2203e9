"""Recipes as YAML files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import yaml

from rankwright.data.atomic import atomic_write
from rankwright.data.files import require_file
from rankwright.errors import ConfigError
from rankwright.recipes.options import Section, default_of, docs_of, types_of
from rankwright.recipes.outputs import refuse_existing
from rankwright.recipes.recipe import DataRecipe, ModelRecipe, Recipe

__all__ = [
    "commented_template",
    "dump_recipe",
    "load_recipe",
    "parse_setting",
    "write_template",
]

_WIDTH = 88

_HEAD = """\
# A recipe for Rankwright: every option, what it does and its default.
# Change what you need, delete what you do not, and run:
#
#     rankwright train --config {name}
#
# Flags of the command line go before what stands here. Relative paths start from the folder in
# which the command is run.
"""


def load_recipe(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe from a file, from options, or from both.

    Args:
        path: YAML file; None for options alone. Relative paths in it are relative to the current
            folder, not to the file.
        overrides: ``"section.option"`` (or ``"output"``, ``"seed"``) -> value, going before what
            the file says.

    Raises:
        DataNotFoundError: No such file.
        ConfigError: Not YAML, unknown options, wrong types or values. The message names the file
            and the line of what it holds.
    """
    values, lines = ({}, {}) if path is None else _read(Path(path))
    overrides = overrides or {}
    for option, value in overrides.items():
        _put(values, option, value)
    try:
        return Recipe.from_dict(values).check()
    except ConfigError as error:
        # every such message begins with the option it is about
        option = str(error).split(" ", 1)[0].rstrip(":")
        if path is None or option in overrides:
            raise
        line = lines.get(option)
        place = f"{path}, line {line}" if line is not None else str(path)
        raise ConfigError(f"{place}: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of a file, and ``section.option`` -> line."""
    if require_file(path, "recipe").is_dir():
        raise ConfigError(f"{path} is a folder; a recipe is a YAML file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error.reason}).") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_syntax(error)}") from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: holds {type(values).__name__}; expected sections such as 'data:' and "
            "'model:'. A complete example is written by: rankwright init"
        )
    return values, _lines(node, path)


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    hint = " YAML is indented with spaces, never with tabs." if "'\\t'" in problem else ""
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{where}: not valid YAML: {problem}.{hint}"


def _lines(root: Any, path: Path) -> dict[str, int]:
    """Raises ConfigError for a key that stands twice, of which YAML would keep the last."""
    found: dict[str, int] = {}

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.value:
            option = f"{prefix}{key.value}"
            line = key.start_mark.line + 1
            if option in found and key.value != "<<":
                raise ConfigError(
                    f"{path}, line {line}: {option} stands here and in line {found[option]}; "
                    "keep one of them."
                )
            found[option] = line
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{option}.")

    walk(root, "")
    return found


def _put(values: dict[str, Any], option: str, value: Any) -> None:
    section, _, name = option.rpartition(".")
    if not section:
        values[name] = value
        return
    inner = values.get(section) or {}
    if isinstance(inner, Mapping):  # anything else is refused when the section is built
        values[section] = {**inner, name: value}


def parse_setting(text: str) -> tuple[str, Any]:
    """``"training.warmup=0.2"`` as option and value; the value is read as YAML.

    Raises:
        ConfigError: No ``=``, or a value that is no YAML.
    """
    option, sign, value = text.partition("=")
    if not sign or not option.strip():
        raise ConfigError(
            f"--set {text!r}: expected section.option=value, such as training.warmup=0.2."
        )
    try:
        return option.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML: {error}") from error


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every option with its comment; `load_recipe` reads it back."""
    return "\n".join(_section_lines(recipe, "")) + "\n"


def commented_template(name: str = "recipe.yaml") -> str:
    """A recipe to start from: all defaults, and placeholders for what has none.

    Args:
        name: What the file will be called, for the command in its head.
    """
    recipe = Recipe(
        data=DataRecipe(source="train.jsonl"),
        model=ModelRecipe(base="cross-encoder/ms-marco-MiniLM-L6-v2"),
        output="my-reranker",
    )
    return _HEAD.format(name=name) + "\n" + dump_recipe(recipe)


def write_template(path: str | Path, overwrite: bool = False) -> None:
    """Writes `commented_template` to a file, atomically.

    Raises:
        InputError: The file exists, and ``overwrite`` is False.
        SaveError: It could not be written.
    """
    refuse_existing(path, overwrite, flag="--force")
    with atomic_write(path) as file:
        file.write(commented_template(str(path)))


def _section_lines(section: Section, indent: str) -> Iterator[str]:
    kind = type(section)
    for number, name in enumerate(types_of(kind)):
        value = getattr(section, name)
        if isinstance(value, Section):
            if number:
                yield ""
            yield from _comment(type(value).__doc__ or "", indent)
            yield f"{indent}{name}:"
            yield from _section_lines(value, indent + "  ")
            continue
        if not indent:
            yield ""
        default = default_of(kind, name)
        note = "" if default is MISSING else f" Default: {_scalar(default)}."
        yield from _comment(docs_of(kind)[name] + note, indent)
        yield f"{indent}{name}: {_scalar(value)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    prefix = f"{indent}# "
    yield from textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _scalar(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    texts = [text for text in (plain if isinstance(plain, list) else [plain]) if type(text) is str]
    # only double quotes keep line ends and control characters as they are
    style = None if all(text.isprintable() for text in texts) else '"'
    dumped: str = yaml.safe_dump(
        plain,
        default_flow_style=True,
        default_style=style,
        allow_unicode=True,
        width=float("inf"),
    )
    return dumped.removesuffix("...\n").strip()
