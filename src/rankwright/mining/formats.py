"""The four shapes in which mined data are handed on, as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rankwright.errors import InputError
from rankwright.mining.arrays import BoolArray, FloatArray, IntArray
from rankwright.mining.negatives import Positives, Selection

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["OUTPUT_FORMATS", "Mined", "build_dataset", "check_output_format"]

OUTPUT_FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")

# Rows converted at a time: an Arrow string column cannot hold 2 GB in one piece.
BLOCK = 4096


@dataclass(frozen=True)
class Mined:
    """All that the output needs.

    Attributes:
        anchor: Name of the query column.
        positive: Name of the document column.
        queries: Q texts.
        documents: Texts of the corpus.
        positives: N pairs in the order of ``queries``, with scores.
        selection: Negatives of the Q queries.
        output_format: One of `OUTPUT_FORMATS`.
    """

    anchor: str
    positive: str
    queries: Sequence[str]
    documents: Sequence[str]
    positives: Positives
    selection: Selection
    output_format: str

    @cached_property
    def negatives(self) -> IntArray:
        """``(N, num_negatives)``: the negatives of each positive's query."""
        return self.selection.indices[self.positives.rows]

    @cached_property
    def negative_scores(self) -> FloatArray:
        """``(N, num_negatives)``."""
        return self.selection.scores[self.positives.rows]

    @cached_property
    def positive_scores(self) -> FloatArray:
        """``(N,)``."""
        assert self.positives.scores is not None
        return self.positives.scores

    @cached_property
    def kept(self) -> BoolArray:
        """``(N, num_negatives)``: which of them reach the output."""
        there = self.negatives >= 0
        if self.output_format == "n-tuple":
            return there & np.atleast_1d(there.all(axis=1))[:, None]
        return there

    @property
    def missing(self) -> tuple[int, int]:
        """How many samples could not be made, and how many would have been possible."""
        if self.output_format == "triplet":
            return int((~self.kept).sum()), self.kept.size
        if self.output_format == "labeled-pair":
            there = self.selection.indices >= 0
            return int((~there).sum()), there.size
        return int((~self.kept.any(axis=1)).sum()), len(self.kept)


def check_output_format(output_format: str) -> None:
    """Raises `InputError` for a name that is not one of `OUTPUT_FORMATS`."""
    if output_format not in OUTPUT_FORMATS:
        raise InputError(
            f"output_format={output_format!r} is not known. Choose one of: "
            f"{', '.join(OUTPUT_FORMATS)}."
        )


def build_dataset(mined: Mined, output_scores: bool) -> Dataset:
    """The rows of ``mined`` in its format.

    Rows follow the order in which queries first appeared, then the order of their positives.
    Texts are "string", labels "int64", scores "float64", whatever was found.
    """
    import datasets

    build = {
        "triplet": _triplet,
        "n-tuple": _tuple,
        "labeled-pair": _labeled_pair,
        "labeled-list": _labeled_list,
    }[mined.output_format]
    columns = build(mined, output_scores)
    types = {
        pa.string(): datasets.Value("string"),
        pa.int64(): datasets.Value("int64"),
        pa.float64(): datasets.Value("float64"),
        pa.list_(pa.string()): [datasets.Value("string")],
        pa.list_(pa.int64()): [datasets.Value("int64")],
        pa.list_(pa.float64()): [datasets.Value("float64")],
    }
    features = datasets.Features({name: types[column.type] for name, column in columns.items()})
    return datasets.Dataset(pa.table(columns), info=datasets.DatasetInfo(features=features))


Columns = dict[str, Any]


def _triplet(mined: Mined, output_scores: bool) -> Columns:
    rows, places = np.nonzero(mined.kept)
    queries, documents = _Texts(mined.queries), _Texts(mined.documents)
    columns: Columns = {
        mined.anchor: queries.take(mined.positives.rows[rows]),
        mined.positive: documents.take(mined.positives.documents[rows]),
        "negative": documents.take(mined.negatives[rows, places]),
    }
    if output_scores:
        scores = np.stack([mined.positive_scores[rows], mined.negative_scores[rows, places]], 1)
        columns["scores"] = _lists(scores.reshape(-1), np.full(len(rows), 2))
    return columns


def _tuple(mined: Mined, output_scores: bool) -> Columns:
    rows = np.flatnonzero(mined.kept.all(axis=1))
    queries, documents = _Texts(mined.queries), _Texts(mined.documents)
    columns: Columns = {
        mined.anchor: queries.take(mined.positives.rows[rows]),
        mined.positive: documents.take(mined.positives.documents[rows]),
    }
    for place, negatives in enumerate(mined.negatives[rows].T, start=1):
        columns[f"negative_{place}"] = documents.take(negatives)
    if output_scores:
        scores = np.concatenate(
            [mined.positive_scores[rows, None], mined.negative_scores[rows]], axis=1
        )
        columns["scores"] = _lists(scores.reshape(-1), np.full(len(rows), scores.shape[1]))
    return columns


def _labeled_pair(mined: Mined, output_scores: bool) -> Columns:
    """Per query: its positives, then its negatives."""
    there = mined.selection.indices >= 0
    rows, _ = np.nonzero(there)
    positives = mined.positives
    queries = np.concatenate([positives.rows, rows])
    order = np.argsort(queries, kind="stable")
    documents = np.concatenate([positives.documents, mined.selection.indices[there]])
    columns: Columns = {
        mined.anchor: _Texts(mined.queries).take(queries[order]),
        mined.positive: _Texts(mined.documents).take(documents[order]),
    }
    if output_scores:
        scores = np.concatenate([mined.positive_scores, mined.selection.scores[there]])
        columns["score"] = pa.chunked_array([pa.array(scores[order].astype(np.float64))])
    else:
        labels = (order < len(positives.rows)).astype(np.int64)
        columns["label"] = pa.chunked_array([pa.array(labels)])
    return columns


def _labeled_list(mined: Mined, output_scores: bool) -> Columns:
    """Per positive: a list of it and its query's negatives."""
    rows = np.flatnonzero(mined.kept.any(axis=1))
    kept = np.pad(mined.kept[rows], ((0, 0), (1, 0)), constant_values=True)
    sizes = kept.sum(axis=1)
    positives = mined.positives
    documents = np.concatenate([positives.documents[rows, None], mined.negatives[rows]], axis=1)
    columns: Columns = {
        mined.anchor: _Texts(mined.queries).take(positives.rows[rows]),
        mined.positive: _Texts(mined.documents).take_lists(documents[kept], sizes),
    }
    if output_scores:
        scores = np.concatenate(
            [mined.positive_scores[rows, None], mined.negative_scores[rows]], axis=1
        )
        columns["scores"] = _lists(scores[kept], sizes)
    else:
        labels = np.zeros(kept.shape, dtype=np.int64)
        labels[:, 0] = 1
        columns["labels"] = _lists(labels[kept], sizes)
    return columns


class _Texts:
    """Texts to choose from by number, without a Python object per chosen text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.array = pa.array(texts, type=pa.large_string())

    def take(self, numbers: IntArray) -> Any:
        chunks = [self._take(numbers[i : i + BLOCK]) for i in range(0, len(numbers), BLOCK)]
        return pa.chunked_array(chunks, type=pa.string())

    def take_lists(self, numbers: IntArray, sizes: IntArray) -> Any:
        chunks = []
        ends = np.cumsum(sizes)
        for start in range(0, len(sizes), BLOCK):
            part = sizes[start : start + BLOCK]
            first = ends[start] - sizes[start]
            texts = self._take(numbers[first : first + part.sum()])
            chunks.append(pa.ListArray.from_arrays(_offsets(part), texts))
        return pa.chunked_array(chunks, type=pa.list_(pa.string()))

    def _take(self, numbers: IntArray) -> Any:
        return self.array.take(pa.array(numbers)).cast(pa.string())


def _lists(values: NDArray[Any], sizes: IntArray) -> Any:
    """Lists of int64, or of float64 where ``values`` are floats."""
    wide = values.astype(np.float64) if values.dtype.kind == "f" else values
    chunks = []
    ends = np.cumsum(sizes)
    for start in range(0, len(sizes), BLOCK):
        part = sizes[start : start + BLOCK]
        first = ends[start] - sizes[start]
        items = pa.array(wide[first : first + part.sum()])
        chunks.append(pa.ListArray.from_arrays(_offsets(part), items))
    item = pa.float64() if values.dtype.kind == "f" else pa.int64()
    return pa.chunked_array(chunks, type=pa.list_(item))


def _offsets(sizes: IntArray) -> Any:
    return pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
