"""Which prompt stands before which texts, by data set and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rankwright.errors import InputError, InputTypeError

__all__ = ["Prompts", "check_prompts", "prompts_for"]


@dataclass(frozen=True)
class Prompts:
    """The prompts of one data set.

    Attributes:
        query: Put before every query.
        columns: Column -> text put before every text in it.
    """

    query: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


def check_prompts(prompts: Any) -> None:
    """Refuses what is neither a text, nor a dict of texts, nor a dict of dicts of texts.

    Raises:
        InputTypeError: Such prompts.
    """
    if prompts is None or isinstance(prompts, str):
        return
    if isinstance(prompts, Mapping):
        values = list(prompts.values())
        inner = [v for value in values if isinstance(value, Mapping) for v in value.values()]
        flat = [value for value in values if not isinstance(value, Mapping)]
        if all(isinstance(value, str) for value in [*inner, *flat]):
            return
    raise InputTypeError(
        "prompts must be a text, {column: text}, {data set: text} or {data set: {column: text}}; "
        f"found {prompts!r}."
    )


def prompts_for(
    prompts: Any, default: str, columns: Mapping[str | None, Sequence[str] | None]
) -> dict[str | None, Prompts]:
    """The prompts of every data set.

    A text stands before every query. A dict whose keys are data sets gives each of them a text
    for its queries, or a dict by column; data sets that it leaves out have the default. A dict
    whose keys are columns gives each column a text.

    Args:
        prompts: ``prompts`` of the training arguments.
        default: The model's default prompt, which stands before every query if ``prompts`` says
            nothing of a data set.
        columns: Name of each data set -> its columns, or None if they are not known yet, as with
            some streams. A data set that is not in a dict has the name None.

    Raises:
        InputError: A name that is neither a data set nor a column, or that could be both.
        InputTypeError: Values that are not texts.
    """
    check_prompts(prompts)
    if not isinstance(prompts, Mapping) or not prompts:
        query = default if prompts is None or isinstance(prompts, Mapping) else prompts
        return {name: Prompts(query) for name in columns}
    names = [name for name in columns if name is not None]
    nested = any(isinstance(value, Mapping) for value in prompts.values())
    known = {column for found in columns.values() for column in found or ()}
    certain = all(found is not None for found in columns.values())
    by_data_set = nested or (bool(names) and not set(prompts).isdisjoint(names))
    if by_data_set:
        if not nested and set(prompts) <= known:
            raise InputError(
                f"prompts={dict(prompts)!r} could name data sets or columns, for both are called "
                "so. Write {data set: {column: text}}, or rename the columns."
            )
        _check_names(prompts, names, "data set")
        return {name: _of(prompts.get(name), name, columns[name], default) for name in columns}
    if certain:
        _check_names(prompts, sorted(known), "column" if not names else "data set or column", names)
    return {
        name: Prompts(columns={c: p for c, p in prompts.items() if found is None or c in found})
        for name, found in columns.items()
    }


def _of(given: Any, name: str | None, columns: Sequence[str] | None, default: str) -> Prompts:
    if given is None:
        return Prompts(default)
    if isinstance(given, str):
        return Prompts(given)
    if columns is not None:
        _check_names(given, columns, f"column of the data set {name!r}")
    return Prompts(columns=dict(given))


def _check_names(
    given: Mapping[str, Any], known: Sequence[str], kind: str, more: Sequence[str] = ()
) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        there = ", ".join(map(repr, [*more, *known])) or "none: there is one data set, without name"
        raise InputError(
            f"prompts names {', '.join(map(repr, unknown))}, which is no {kind}. There are: "
            f"{there}."
        )
