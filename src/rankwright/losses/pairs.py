"""From rows of a dataset to pairs, labels and group sizes.

This is the only place that knows column layouts. It runs in the collator, hence in dataloader
workers, so it is picklable and touches neither a model nor a device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from rankwright.data.columns import LABEL_COLUMNS, input_columns, label_column
from rankwright.errors import ColumnError, DataError, EmptyDataError, LabelError

__all__ = ["LABEL_COLUMNS", "LabelRule", "PairBuilder", "PairRows", "as_columns"]

LAYOUTS = {
    "pairs": "(query, document)",
    "tuples": "(query, document_1, document_2, ...)",
    "lists": "(query, [documents])",
}
_EXCERPT = 60


@dataclass(frozen=True)
class LabelRule:
    """What a label must be.

    Attributes:
        low: Least value allowed; None for no limit.
        high: Greatest value allowed; None for no limit.
        integer: Whether labels are class numbers; the tensor is then int64, else float32.
    """

    low: float | None = None
    high: float | None = None
    integer: bool = False

    def describe(self) -> str:
        """The rule in words, for messages."""
        kind = "whole numbers" if self.integer else "numbers"
        if self.low is not None and self.high is not None:
            return f"{kind} from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{kind} of at least {self.low:g}"
        return f"{kind} of at most {self.high:g}" if self.high is not None else f"finite {kind}"

    def allows(self, value: Any) -> bool:
        """Whether ``value`` is such a label."""
        if not isinstance(value, Real):
            return False
        number = float(value)
        if not math.isfinite(number) or (self.integer and not number.is_integer()):
            return False
        above = self.low is None or number >= self.low
        return above and (self.high is None or number <= self.high)


@dataclass(frozen=True)
class PairRows:
    """What a batch of rows becomes.

    Attributes:
        pairs: P (query, document) texts; the pairs of a row are neighbours.
        labels: P labels, one per pair; None where the layout carries none.
        group_sizes: Pairs per row, Q numbers that sum to P; None where each row is one pair.
    """

    pairs: list[tuple[str, str]]
    labels: list[float] | None
    group_sizes: list[int] | None


@dataclass(frozen=True)
class PairBuilder:
    """Turns a batch of rows, ``{column: values}``, into `PairRows`.

    The first text column is the query. What follows decides the layout: one column of texts
    gives one pair per row, several columns give a group of pairs per row, and one column of
    lists gives a group of any size per row. Labels come from the first of `LABEL_COLUMNS`:
    a number per row for pairs, a list with one number per document for groups.

    Attributes:
        loss: Name of the loss, for messages.
        layouts: Which of ``pairs``, ``tuples``, ``lists`` it takes.
        labels: What its labels must be.
        first_is_positive: Whether tuples without a label column mean: the first document is
            relevant (1), the others are not (0).
        margins: Whether tuples may be labelled with one margin per negative, by which the first
            document's score exceeds it. The first document then has the label 0, a negative
            minus its margin.
        prompt: Text put before every query.
    """

    loss: str
    layouts: tuple[str, ...]
    labels: LabelRule = LabelRule()
    first_is_positive: bool = False
    margins: bool = False
    prompt: str = ""

    def __call__(self, columns: Mapping[str, Sequence[Any]]) -> PairRows:
        """Builds the pairs.

        Args:
            columns: Column name -> one value per row; column order matters.

        Raises:
            ColumnError: Too few columns, a layout this loss does not take, or values that are
                not texts.
            LabelError: Labels that are missing, of the wrong number or outside the range.
            EmptyDataError: The rows hold no documents at all.
        """
        label = label_column(list(columns))
        texts = input_columns(list(columns))
        layout = self._layout(texts, columns)
        queries = columns[texts[0]]
        documents = self._documents(texts[1:], columns, layout)
        pairs = [
            (f"{self.prompt}{_text(query, texts[0])}", document)
            for query, row in zip(queries, documents, strict=True)
            for document in row
        ]
        if not pairs:
            raise EmptyDataError(
                f"all {len(queries)} rows of a batch have an empty list of documents; "
                "remove rows without documents.",
                column=texts[1],
            )
        sizes = [len(row) for row in documents]
        labels = None
        if label is not None:
            grouped = layout != "pairs"
            values = [_plain(value) for value in columns[label]]
            rows = [value if grouped else [value] for value in values]
            if self.margins and layout == "tuples":
                rows = [_from_margins(row, len(texts) - 1) for row in rows]
            labels = self._labels(rows, label, sizes, queries)
        elif layout == "tuples" and self.first_is_positive:
            labels = [float(i == 0) for size in sizes for i in range(size)]
        if labels is None:
            raise LabelError(
                f"{self.loss} needs labels, and none of the columns {_names(columns)} is called "
                f"{_names(LABEL_COLUMNS)}. Add such a column with {self.labels.describe()}."
            )
        return PairRows(pairs, labels, None if layout == "pairs" else sizes)

    def _layout(self, texts: list[str], columns: Mapping[str, Sequence[Any]]) -> str:
        expected = " or ".join(LAYOUTS[name] for name in self.layouts)
        if len(texts) < 2:
            raise ColumnError(
                f"{self.loss} needs the columns {expected}; of the columns {_names(columns)} "
                f"only {len(texts)} can hold texts."
            )
        first = next((value for value in columns[texts[1]] if value is not None), None)
        if len(texts) > 2:
            layout = "tuples"
        else:
            layout = "lists" if isinstance(_plain(first), list) else "pairs"
        if layout not in self.layouts:
            raise ColumnError(
                f"{self.loss} takes the columns {expected}, but {_names(texts)} are "
                f"{LAYOUTS[layout]}. Select or rename columns, remove those that are not texts, "
                "or choose a loss for this layout."
            )
        return layout

    def _documents(
        self, names: list[str], columns: Mapping[str, Sequence[Any]], layout: str
    ) -> list[list[str]]:
        if layout != "lists":
            texts = [[_text(value, name) for value in columns[name]] for name in names]
            return [list(row) for row in zip(*texts, strict=True)]
        rows = [_plain(value) for value in columns[names[0]]]
        for row in rows:
            if not isinstance(row, list):
                raise ColumnError(
                    f"expected a list of documents in every row, found {_show(row)}.",
                    column=names[0],
                )
        return [[_text(document, names[0]) for document in row] for row in rows]

    def _labels(
        self, rows: list[Any], column: str, sizes: list[int], queries: Sequence[Any]
    ) -> list[float]:
        flat: list[float] = []
        for row, size, query in zip(rows, sizes, queries, strict=True):
            if not isinstance(row, list) or len(row) != size:
                raise LabelError(
                    f"the query {_show(query)} has {size} documents, so it needs a list of {size} "
                    f"labels, one per document; found {_show(row)}.",
                    column=column,
                )
            for label in row:
                if not self.labels.allows(label):
                    raise LabelError(
                        f"{self.loss} needs {self.labels.describe()}, found {_show(label)} for "
                        f"the query {_show(query)}.",
                        column=column,
                    )
            flat.extend(row)
        return flat


def as_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows to columns; the first row says which columns there are.

    Raises:
        EmptyDataError: No rows.
        DataError: A row misses a column that the first row has.
    """
    if not rows:
        raise EmptyDataError("a batch without rows: the dataset is empty.")
    try:
        return {name: [row[name] for row in rows] for name in rows[0]}
    except KeyError as error:
        raise DataError(
            f"some rows have no value for {error}; all rows need the columns {_names(rows[0])}."
        ) from error


def _from_margins(row: Any, size: int) -> Any:
    """Labels whose differences are the margins; ``row`` as it is if it holds no margins."""
    margins = [row] if isinstance(row, Real) else row
    if not isinstance(margins, list) or len(margins) != size - 1:
        return row
    if not all(isinstance(margin, Real) for margin in margins):
        return row
    return [0.0, *(-float(margin) for margin in margins)]


def _text(value: Any, column: str) -> str:
    if isinstance(value, str):
        return value
    raise ColumnError(
        f"expected a text, found {_show(value)}. If the column holds no texts, leave it out "
        "with dataset.remove_columns(...); if a row misses its text, drop the row.",
        column=column,
    )


def _plain(value: Any) -> Any:
    """Arrays, tensors and tuples as lists, their scalars as Python numbers."""
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _names(columns: Any) -> str:
    return ", ".join(f"'{name}'" for name in columns)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 3]}..."
