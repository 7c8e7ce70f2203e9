"""Batches of whole queries, from rows of one document each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rankwright.training.sampling.base import EpochBatchSampler, SamplerOptions, cut, permutation
from rankwright.training.sampling.texts import label_values, query_ids

__all__ = ["QueryGroupedSampler", "choose_documents"]

logger = logging.getLogger(__name__)


def choose_documents(
    labels: Sequence[Any] | None, count: int, most: int, generator: torch.Generator
) -> list[int]:
    """Which documents of a query stay when there are too many.

    At most half of the places (but at least one) go to random documents with the query's highest
    label, the others to random documents with lower ones; where either kind is short of its share,
    the other takes the rest. So a query keeps something to be learnt from.

    Args:
        labels: One per document; None, or any that are not numbers, treat all alike.
        count: Documents of the query.
        most: How many may stay.
        generator: For drawing.

    Returns:
        Numbers below ``count``, ascending.
    """
    if count <= most:
        return list(range(count))
    order = permutation(count, generator)
    if labels is None or not all(isinstance(label, int | float) for label in labels):
        return sorted(order[:most])
    top = max(labels)
    best = [i for i in order if labels[i] == top]
    rest = [i for i in order if labels[i] != top]
    share = max(1, most // 2, most - len(rest))
    best = best[:share]
    return sorted(best + rest[: most - len(best)])


class QueryGroupedSampler(EpochBatchSampler):
    """Batches of all rows of some queries, for losses that compare the documents of a query.

    A batch holds ``batch_size`` queries. The rows of a query stand next to each other, in the order
    of the dataset, wherever in the dataset they are. A query with more than ``max_documents`` rows
    gives that many of them, others in every epoch: see `choose_documents`.

    Args:
        dataset: A dataset of rows with one document each; the first text column is the query.
        options: Batch size, seed and so on.
        shuffle: Whether queries come in random order, or in order of first appearance.
    """

    def __init__(self, dataset: Any, options: SamplerOptions, *, shuffle: bool = True) -> None:
        super().__init__(len(dataset), options, uneven=True)
        self.shuffle = shuffle
        ids = query_ids(dataset)
        rows = np.argsort(ids, kind="stable")
        ends = np.cumsum(np.bincount(ids))
        self._queries: list[list[int]] = [part.tolist() for part in np.split(rows, ends[:-1])]
        limit = options.max_documents
        left_out = sum(max(0, len(found) - limit) for found in self._queries)
        self._labels = label_values(dataset) if left_out else None
        if left_out:
            logger.warning(
                "%d of %d rows are left out of every epoch, other ones each time: some queries "
                "have more than %d documents. Raise max_documents_per_query to see more of them.",
                *(left_out, self.num_rows, limit),
            )

    def __len__(self) -> int:
        full, rest = divmod(len(self._queries), self.options.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        generator = self.generator()
        count = len(self._queries)
        order = permutation(count, generator) if self.shuffle else list(range(count))
        for batch in cut(order, self.options):
            yield [row for query in batch for row in self._rows_of(query, generator)]

    def _rows_of(self, query: int, generator: torch.Generator) -> list[int]:
        rows = self._queries[query]
        most = self.options.max_documents
        if len(rows) <= most:
            return rows
        labels = None if self._labels is None else [self._labels[row] for row in rows]
        return [rows[i] for i in choose_documents(labels, len(rows), most, generator)]
