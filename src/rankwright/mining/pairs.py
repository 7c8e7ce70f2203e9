"""Reading (query, relevant document) pairs from a dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankwright.errors import ColumnError, EmptyDataError, InputTypeError
from rankwright.mining.negatives import Positives

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["TextPairs", "read_pairs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextPairs:
    """Pairs with every text held once.

    Attributes:
        anchor: Name of the query column.
        positive: Name of the document column.
        queries: Q different texts, in order of first appearance.
        documents: Different texts: the extra corpus first, then positives not in it.
        positives: Different pairs, by query, then in order of first appearance; no scores.
    """

    anchor: str
    positive: str
    queries: list[str]
    documents: list[str]
    positives: Positives

    @property
    def max_positives(self) -> int:
        """The largest number of positives of any query."""
        return int(np.bincount(self.positives.rows).max())


def read_pairs(
    dataset: Dataset,
    anchor: str | None = None,
    positive: str | None = None,
    corpus: Sequence[str] | None = None,
) -> TextPairs:
    """Reads two columns of ``dataset``.

    Raises:
        InputTypeError: Not a map-style `datasets.Dataset`, or ``corpus`` is no list of strings.
        ColumnError: Columns that are missing, too few, or hold no text.
        EmptyDataError: No rows, or an empty text.
    """
    _check_dataset(dataset)
    anchor, positive = _columns(dataset.column_names, anchor, positive)
    questions = _texts(dataset[anchor], "the dataset", anchor)
    answers = _texts(dataset[positive], "the dataset", positive)
    extra: list[str] = []
    if corpus is not None:
        if isinstance(corpus, str):
            raise InputTypeError("corpus is one string; expected a list of strings.")
        extra = _texts(corpus, "corpus", None)
    queries = list(dict.fromkeys(questions))
    documents = list(dict.fromkeys([*extra, *answers]))
    query_rows = {text: row for row, text in enumerate(queries)}
    document_rows = {text: row for row, text in enumerate(documents)}
    distinct = dict.fromkeys(
        (query_rows[q], document_rows[a]) for q, a in zip(questions, answers, strict=True)
    )
    rows, columns = np.array(list(distinct), dtype=np.int64).T
    order = np.argsort(rows, kind="stable")
    if len(queries) < len(questions):
        logger.info(
            "%s queries, %.3f positives each on average, in %s rows.",
            f"{len(queries):,}",
            len(rows) / len(queries),
            f"{len(questions):,}",
        )
    return TextPairs(anchor, positive, queries, documents, Positives(rows[order], columns[order]))


def _check_dataset(dataset: Any) -> None:
    name = type(dataset).__name__
    if name == "IterableDataset":
        raise InputTypeError(
            "dataset streams (IterableDataset), and mining needs all texts at once. Load it "
            "without streaming=True, or take a part: Dataset.from_list(list(dataset.take(n)))."
        )
    if isinstance(dataset, dict):
        raise InputTypeError(
            f"dataset is a {name} with the splits {sorted(dataset)}; pass one, such as "
            "dataset['train']."
        )
    if not hasattr(dataset, "column_names"):
        raise InputTypeError(f"dataset is a {name}; expected a datasets.Dataset of pairs.")
    if len(dataset) == 0:
        raise EmptyDataError("The dataset has no rows. Pass at least one (query, document) pair.")


def _columns(names: list[str], anchor: str | None, positive: str | None) -> tuple[str, str]:
    for argument, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name is not None and name not in names:
            raise ColumnError(f"{argument}={name!r} is not among the columns {names}.")
    if len(names) < 2:
        raise ColumnError(
            f"The dataset has {len(names)} column, {names}; expected two: queries and relevant "
            "documents."
        )
    if anchor is None:
        anchor = next(name for name in names if name != positive)
    if positive is None:
        positive = next((name for name in names[1:] if name != anchor), names[0])
    if anchor == positive:
        raise ColumnError(f"Column '{anchor}' cannot be both the queries and the documents.")
    unused = [name for name in names if name not in (anchor, positive)]
    if unused:
        logger.warning(
            "Mining with queries from column '%s' and relevant documents from '%s'; these columns "
            "are left out: %s.",
            anchor,
            positive,
            ", ".join(unused),
        )
    return anchor, positive


def _texts(values: Any, where: str, column: str | None) -> list[str]:
    texts = list(values)
    for row, text in enumerate(texts):
        if isinstance(text, str) and not text.isspace() and text:
            continue
        if text is None or isinstance(text, str):
            raise EmptyDataError(
                f"{where} has an empty text in row {row}. Remove empty texts"
                f"{', for example with dataset.filter(...)' if column else ''}.",
                column=column,
            )
        raise ColumnError(
            f"{where} holds {type(text).__name__} in row {row}; expected text"
            f"{', one positive per row' if isinstance(text, list) else ''}.",
            column=column,
        )
    return texts
