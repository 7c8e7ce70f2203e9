"""What a section of a recipe is: typed options that document and check themselves.

A section is a frozen dataclass. The string literal after a field is its documentation: the same
sentence becomes the comment in a YAML recipe and the help of a command-line flag.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import itertools
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rankwright.errors import ConfigError

__all__ = ["Limit", "Section", "default_of", "docs_of", "types_of"]

S = TypeVar("S", bound="Section")

# YAML 1.1 reads 2e-4, which has no dot, as a text.
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")

_NAMES: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}


@dataclass(frozen=True)
class Limit:
    """The range of a number; None leaves a side open."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allows(self, value: float) -> bool:
        """Whether ``value`` is in the range."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        parts = (
            ("at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        return " and ".join(f"{word} {bound:g}" for word, bound in parts if bound is not None)


class Section:
    """Base of the sections; checks types and limits when one is made."""

    SECTION: ClassVar[str] = ""
    """Its name in a recipe; empty for the recipe itself."""
    LIMITS: ClassVar[Mapping[str, Limit]] = {}
    """Option -> the range of its number."""

    def __post_init__(self) -> None:
        for name, kind in types_of(type(self)).items():
            option = self.option_name(name)
            value = _fitted(option, getattr(self, name), kind)
            limit = self.LIMITS.get(name)
            if limit is not None and value is not None and not limit.allows(value):
                raise ConfigError(f"{option} is {value}; it must be {limit}.")
            object.__setattr__(self, name, value)

    @classmethod
    def option_name(cls, name: str) -> str:
        """``section.option``, as messages and overrides name it."""
        return f"{cls.SECTION}.{name}" if cls.SECTION else name

    @classmethod
    def from_dict(cls: type[S], values: Any) -> S:
        """A section from plain values, such as a YAML file holds.

        Raises:
            ConfigError: Unknown keys, a missing option that has no default, a wrong type or a
                value out of range; the message begins with ``section.option``.
        """
        given = {} if values is None else values
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{cls.SECTION or 'recipe'} is {_shown(given)}; it must be a section with the "
                f"options {', '.join(types_of(cls))}."
            )
        for key in given:
            if key not in types_of(cls):
                raise cls._unknown(str(key))
        ready: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            kind = types_of(cls)[field.name]
            if isinstance(kind, type) and issubclass(kind, Section):
                if field.name in given or not default_exists(field):
                    ready[field.name] = kind.from_dict(given.get(field.name))
            elif field.name in given:
                ready[field.name] = given[field.name]
            elif not default_exists(field):
                raise ConfigError(
                    f"{cls.option_name(field.name)} is missing. {docs_of(cls)[field.name]}"
                )
        return cls(**ready)

    @classmethod
    def _unknown(cls, key: str) -> ConfigError:
        names = list(types_of(cls))
        close = difflib.get_close_matches(key, names, n=1)
        did_you_mean = f" Did you mean {cls.option_name(close[0])}?" if close else ""
        what = f"the section '{cls.SECTION}'" if cls.SECTION else "a recipe"
        return ConfigError(
            f"{cls.option_name(key)} is no option.{did_you_mean} Options of {what}: "
            f"{', '.join(names)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON; the reverse of `from_dict`."""
        values: dict[str, Any] = {}
        for name in types_of(type(self)):
            value = getattr(self, name)
            if isinstance(value, Section):
                value = value.to_dict()
            values[name] = list(value) if isinstance(value, tuple) else value
        return values


def types_of(section: type[Any]) -> dict[str, Any]:
    """Option -> type, in order."""
    hints = get_type_hints(section)
    return {field.name: hints[field.name] for field in fields(section)}


def docs_of(section: type[Any]) -> dict[str, str]:
    """Option -> its documentation: the string literal after the field, on one line."""
    docs = {}
    for field, text in itertools.pairwise(_classes(section.__module__)[section.__name__]):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


@cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """Class name -> statements."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def default_exists(field: Field[Any]) -> bool:
    """Whether an option may be left out."""
    return field.default is not MISSING or field.default_factory is not MISSING


def default_of(section: type[Any], name: str) -> Any:
    """Default of an option; ``dataclasses.MISSING`` if it has to be given."""
    field = next(f for f in fields(section) if f.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def _fitted(option: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``: whole numbers become floats and lists tuples, nothing else changes.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(kind, type) and issubclass(kind, Section):
        if isinstance(value, kind):
            return value
        raise ConfigError(f"{option} is {_shown(value)}; it must be a {kind.__name__}.")
    choices = _alternatives(kind)
    if value is None and type(None) in choices:
        return None
    wanted = next(choice for choice in choices if choice is not type(None))
    fitted = _convert(value, wanted)
    if fitted is None:
        hint = ""
        if isinstance(value, str) and wanted in (int, float, bool):
            hint = " Write it without quotes."
        elif wanted is str and isinstance(value, (bool, int, float)):
            hint = " Put it in quotes."
        or_null = ", or null" if type(None) in choices else ""
        raise ConfigError(
            f"{option} is {_shown(value)}; it must be {_described(wanted)}{or_null}.{hint}"
        )
    if wanted is str and not fitted.strip():
        raise ConfigError(f"{option} is an empty text; give a value or leave the option out.")
    return fitted


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _convert(value: Any, wanted: Any) -> Any:
    """The value in its final form, or None if it does not fit."""
    if get_origin(wanted) is Literal:
        return value if isinstance(value, str) and value in get_args(wanted) else None
    if get_origin(wanted) is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            return None
        return tuple(value)
    if wanted is float:
        if isinstance(value, str) and _EXPONENT.fullmatch(value):
            value = float(value)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if usable and math.isfinite(value) else None
    if wanted is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(value, wanted) else None


def _described(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return f"one of {', '.join(get_args(wanted))}"
    if get_origin(wanted) is tuple:
        return "a list of texts, such as [a, b]"
    return _NAMES[wanted]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:80]!r}"
    return f"{value!r:.80}"
