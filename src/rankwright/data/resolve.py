"""Rows that hold ids, to rows that hold texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.data.columns import LABEL_COLUMNS
from rankwright.errors import (
    ColumnError,
    DuplicateIdError,
    InputError,
    InputTypeError,
    UnknownIdError,
)

__all__ = ["IdResolver", "resolve_ids"]

FORMATS = ("columns", "lists")


def resolve_ids(
    lookups: Mapping[str, Any],
    keep_columns: Sequence[str] = LABEL_COLUMNS,
    max_list_length: int | None = None,
    output_format: str = "columns",
) -> IdResolver:
    """A function that puts texts in the place of ids, for `datasets`' ``set_transform`` or ``map``.

    ``rows.set_transform(resolve_ids({"query_id": queries, "document_ids": documents}))`` looks ids
    up whenever rows are read; ``rows.map(resolve_ids(...), batched=True,
    remove_columns=rows.column_names)`` does it once.

    Args:
        lookups: Column of ids -> the table that has the texts: a ``datasets.Dataset``, or
            ``(dataset, id column)`` or ``(dataset, id column, text column)``. Without them the id
            column is the only one that is called ``id`` or ends in ``_id``, and the text column
            the only other one. The new columns come in this order: the query first.
        keep_columns: Columns that stay as they are, if they are there. All others are dropped.
        max_list_length: How many of the ids in a list are used, and how many of the labels in
            a list are kept; None for all.
        output_format: ``"columns"`` makes ``document_1``, ``document_2`` ... of lists of ids in
            ``document_ids``, which must be equally long; ``"lists"`` makes lists in
            ``documents``.

    Returns:
        A mapping of columns to a mapping of columns; it can be pickled.

    Raises:
        InputError, InputTypeError: Arguments that cannot be used.
        ColumnError: A table without these columns, or with several that could be meant.
        DuplicateIdError: An id that is in a table twice.
    """
    if isinstance(keep_columns, str):
        raise InputTypeError(f"keep_columns is {keep_columns!r}; expected a list of names.")
    if max_list_length is not None and (
        not isinstance(max_list_length, int) or max_list_length < 1
    ):
        raise InputError(f"max_list_length={max_list_length!r}; expected at least 1, or None.")
    if output_format not in FORMATS:
        raise InputError(f"output_format={output_format!r}; expected 'columns' or 'lists'.")
    tables = {column: _table(column, spec) for column, spec in lookups.items()}
    return IdResolver(tables, tuple(keep_columns), max_list_length, output_format)


@dataclass(frozen=True)
class _Table:
    """The texts of one lookup, and in which row each id stands."""

    texts: Any
    column: str
    rows: Mapping[Any, int]

    def take(self, ids: Sequence[Any], name: str) -> list[Any]:
        if not ids:
            return []
        try:
            found = [self.rows[one] for one in ids]
        except KeyError as error:
            raise UnknownIdError(
                f"{error.args[0]!r} is no id of its lookup table. Correct the id, or pass the "
                "table that has it.",
                column=name,
            ) from None
        except TypeError as error:
            raise ColumnError(
                f"{error}: expected ids, or lists of ids. If the data set has a format, call "
                "with_format(None) before.",
                column=name,
            ) from error
        return list(self.texts[found][self.column])


@dataclass(frozen=True)
class IdResolver:
    """What `resolve_ids` makes; call it with columns."""

    tables: Mapping[str, _Table]
    keep_columns: tuple[str, ...]
    max_list_length: int | None
    output_format: str

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The columns with texts in the place of ids.

        Raises:
            ColumnError: A column that is missing, or lists that are not equally long.
            UnknownIdError: An id that is not in its table.
        """
        if not isinstance(batch, Mapping):
            raise InputTypeError(
                f"rows came as {type(batch).__name__}; expected columns of plain values. Call "
                "with_format(None) on the data set before."
            )
        found: dict[str, Any] = {}
        for name, table in self.tables.items():
            if name not in batch:
                raise ColumnError(f"rows have the columns {list(batch)}.", column=name)
            for new, values in self._resolved(name, list(batch[name]), table).items():
                if new in found:
                    raise ColumnError(
                        f"two columns of ids both make '{new}'; rename one.", column=name
                    )
                found[new] = values
        for name in self.keep_columns:
            if name in batch:
                found[name] = [self._cut(value) for value in batch[name]]
        return found

    def _resolved(self, name: str, column: list[Any], table: _Table) -> dict[str, list[Any]]:
        stem = re.sub(r"_?ids?$", "", name) or name
        if not column or not isinstance(column[0], (list, tuple)):
            return {stem: table.take(column, name)}
        rows = [self._cut(row) for row in column]
        texts = iter(table.take([one for row in rows for one in row], name))
        lists = [[next(texts) for _ in row] for row in rows]
        if self.output_format == "lists":
            return {f"{stem}s": lists}
        lengths = sorted({len(row) for row in rows})
        if len(lengths) != 1 or lengths[0] == 0:
            raise ColumnError(
                f"lists of {lengths} ids; output_format='columns' needs lists that are equally "
                "long and not empty. Pass max_list_length, or output_format='lists'.",
                column=name,
            )
        return {f"{stem}_{i + 1}": [row[i] for row in lists] for i in range(lengths[0])}

    def _cut(self, value: Any) -> Any:
        is_list = hasattr(value, "__len__") and not isinstance(value, (str, bytes))
        return value[: self.max_list_length] if is_list else value


def _table(column: str, spec: Any) -> _Table:
    dataset, *names = spec if isinstance(spec, tuple) else (spec,)
    present = getattr(dataset, "column_names", None)
    if not isinstance(present, list) or not hasattr(dataset, "select_columns") or len(names) > 2:
        raise InputTypeError(
            f"lookups[{column!r}] is {type(spec).__name__}; expected a datasets.Dataset (one split "
            "of it), or (dataset, id column), or (dataset, id column, text column)."
        )
    if not hasattr(dataset, "__len__"):
        raise InputTypeError(f"lookups[{column!r}] is a stream; its rows cannot be looked up.")
    wanted = [n for n in present if n == "id" or n.endswith("_id")]
    id_column = names[0] if names else _only(wanted, present, column, "id")
    others = [name for name in present if name != id_column]
    text_column = names[1] if len(names) > 1 else _only(others, present, column, "text")
    for name in (id_column, text_column):
        if name not in present:
            raise ColumnError(f"lookups[{column!r}] has the columns {present}.", column=name)
    plain = dataset.with_format(None)
    rows: dict[Any, int] = {}
    for number, one in enumerate(plain[id_column]):
        if rows.setdefault(one, number) != number:
            raise DuplicateIdError(
                f"lookups[{column!r}] has the id {one!r} in rows {rows[one]} and {number}; which "
                "text is meant cannot be known.",
                column=id_column,
            )
    return _Table(plain.select_columns([text_column]), text_column, rows)


def _only(names: list[str], present: list[str], column: str, what: str) -> str:
    if len(names) != 1:
        raise ColumnError(
            f"which column of lookups[{column!r}] is the {what} cannot be told from {present}; "
            "pass (dataset, id column, text column)."
        )
    return names[0]
