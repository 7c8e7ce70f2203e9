"""What is done to the columns of a batch before a loss's `PairBuilder` sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.data.columns import input_columns, label_column
from rankwright.errors import ColumnError
from rankwright.losses.pairs import PairBuilder
from rankwright.training.sampling.texts import is_flat

__all__ = ["RowShape"]

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class RowShape:
    """Puts prompts before texts, joins rows of one query, and joins several columns of documents.

    Attributes:
        prompts: (column, text put before every text in it), for some columns.
        group_queries: Whether neighbouring rows of (query, document[, label]) with the same query
            become one row of (query, [documents][, [labels]]).
        first_is_positive: Whether the documents of the first of several columns are labelled 1,
            those of the others 0, where lists are joined and there are no labels.
    """

    prompts: tuple[tuple[str, str], ...] = ()
    group_queries: bool = False
    first_is_positive: bool = False

    @classmethod
    def for_pairs(
        cls, pairs: PairBuilder, prompts: Mapping[str, str], *, group_queries: bool
    ) -> RowShape:
        """What suits a loss: rows are grouped only for one that takes lists."""
        grouping = group_queries and "lists" in pairs.layouts
        return cls(tuple(prompts.items()), grouping, pairs.first_is_positive)

    def __call__(self, columns: Columns) -> Columns:
        """The columns, changed.

        Args:
            columns: Column name -> one value per row.

        Raises:
            ColumnError: A prompt for a column that is not there or that holds no texts.
        """
        for name, prompt in self.prompts:
            columns = {**columns, name: _prompted(columns, name, prompt)}
        if self.group_queries and is_flat(columns):
            return _by_query(columns)
        return self._joined(columns)

    def _joined(self, columns: Columns) -> Columns:
        """(query, positive(s), negatives, ...) with lists among them as (query, [documents])."""
        names = input_columns(list(columns))
        if len(names) < 3 or not any(_is_list(columns[name]) for name in names[1:]):
            return columns
        documents: list[list[Any]] = []
        firsts: list[int] = []
        for values in zip(*(columns[name] for name in names[1:]), strict=True):
            parts = [_as_list(value) for value in values]
            firsts.append(len(parts[0]))
            documents.append([document for part in parts for document in part])
        joined: dict[str, Sequence[Any]] = {names[0]: columns[names[0]], names[1]: documents}
        label = label_column(list(columns))
        if label is not None:
            joined[label] = columns[label]
        elif self.first_is_positive:
            joined["labels"] = [
                [float(i < first) for i in range(len(row))]
                for first, row in zip(firsts, documents, strict=True)
            ]
        return joined


def _by_query(columns: Columns) -> Columns:
    query = input_columns(list(columns))[0]
    grouped: dict[str, list[Any]] = {name: [] for name in columns}
    before: Any = None
    for i, text in enumerate(columns[query]):
        new = i == 0 or text != before
        before = text
        for name in columns:
            if new:
                grouped[name].append(text if name == query else [])
            if name != query:
                grouped[name][-1].append(columns[name][i])
    return grouped


def _prompted(columns: Columns, name: str, prompt: str) -> list[Any]:
    if name not in columns:
        found = ", ".join(repr(other) for other in columns)
        raise ColumnError(
            f"prompts names the column '{name}', which is not there; the columns are {found}."
        )
    if name == label_column(list(columns)):
        raise ColumnError("prompts names the label column; only texts can have one.", column=name)
    return [_with_prompt(value, prompt) for value in columns[name]]


def _with_prompt(value: Any, prompt: str) -> Any:
    if isinstance(value, str):
        return f"{prompt}{value}"
    # Anything else than texts and lists of them is left for the PairBuilder to complain about.
    if _is_list([value]):
        return [_with_prompt(item, prompt) for item in value]
    return value


def _is_list(values: Sequence[Any]) -> bool:
    first: Any = next((value for value in values if value is not None), None)
    return isinstance(first, list | tuple) or (hasattr(first, "tolist") and first.ndim > 0)


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist") and value.ndim > 0:
        return list(value.tolist())
    return [value]
