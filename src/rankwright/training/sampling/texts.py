"""What samplers need to know of the rows: their texts, lengths, queries and labels."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.data.columns import input_columns, label_column

__all__ = ["blocks", "is_flat", "label_values", "query_ids", "row_lengths", "text_ids", "texts_in"]

_BLOCK = 10_000
"""Rows read at a time."""


def blocks(dataset: Any) -> Iterator[Mapping[str, Sequence[Any]]]:
    """The dataset in large blocks of columns; one row at a time would take many times longer."""
    for start in range(0, len(dataset), _BLOCK):
        yield dataset[start : start + _BLOCK]


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value: itself, or those in a list, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, np.ndarray):
        yield from texts_in(value.tolist())


def row_texts(columns: Mapping[str, Sequence[Any]]) -> Iterator[list[str]]:
    """All texts of every row of a block; a text that is there twice comes twice."""
    names = input_columns(list(columns))
    for values in zip(*(columns[name] for name in names), strict=True):
        yield [text for value in values for text in texts_in(value)]


def row_lengths(dataset: Any) -> list[int]:
    """Characters of all texts of every row."""
    return [sum(map(len, texts)) for block in blocks(dataset) for texts in row_texts(block)]


def text_ids(dataset: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers that stand for the texts of every row; equal texts have equal numbers.

    Returns:
        ``(T,)`` numbers from 0, those of a row next to each other and each but once; and
        ``(R + 1,)`` where each of the R rows starts.
    """
    # Only equality matters, so 8 bytes per text do: a clash by chance merely separates two rows.
    hashes, starts = array("Q"), array("q", [0])
    for block in blocks(dataset):
        for texts in row_texts(block):
            hashes.extend(_hash(text) for text in dict.fromkeys(texts))
            starts.append(len(hashes))
    ids = np.unique(np.array(hashes, np.uint64), return_inverse=True)[1]
    return ids.astype(np.int64), np.array(starts, np.int64)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def query_ids(dataset: Any) -> NDArray[np.int64]:
    """``(R,)`` numbers from 0, in order of first appearance; equal queries have equal numbers."""
    known: dict[bytes | int, int] = {}
    ids = array("q")
    for block in blocks(dataset):
        name = input_columns(list(block))[0]
        for query in block[name]:
            ids.append(known.setdefault(_hash(str(query)), len(known)))
    return np.array(ids, np.int64)


def label_values(dataset: Any) -> list[Any] | None:
    """The label of every row; None if there is no label column."""
    found: list[Any] = []
    for block in blocks(dataset):
        name = label_column(list(block))
        if name is None:
            return None
        values = block[name]
        found.extend(values.tolist() if hasattr(values, "tolist") else values)
    return [value.item() if hasattr(value, "item") else value for value in found]


def is_flat(columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether rows are (query, document) with one document each, not lists or tuples of them."""
    names = input_columns(list(columns))
    if len(names) != 2:
        return False
    first = next((value for value in columns[names[1]] if value is not None), None)
    return isinstance(first, str)
