"""Batches with several rows of several labels."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from typing import Any

import torch

from rankwright.data.columns import LABEL_COLUMNS
from rankwright.errors import InputError, LabelError
from rankwright.training.sampling.base import EpochBatchSampler, SamplerOptions, permutation
from rankwright.training.sampling.texts import label_values

__all__ = ["GroupByLabelSampler"]

logger = logging.getLogger(__name__)


class GroupByLabelSampler(EpochBatchSampler):
    """Every batch has at least two labels, and at least two rows of each of its labels.

    Rows of a label are shuffled and taken in twos, and the twos of each label are dealt out evenly
    over the batches, the most frequent label first. An odd row is left out, another one in every
    epoch, and so is what a very frequent label has too much of: with batches of b rows, more than
    b - 2 rows of it for every two rows of all other labels. Rows whose label no other row has are
    never seen.

    Args:
        dataset: A dataset with one label per row.
        options: Batch size (even, at least 4), seed and so on.

    Raises:
        InputError: A batch size that is odd or below 4.
        LabelError: No labels, lists of labels, or fewer than two labels with two rows.
    """

    def __init__(self, dataset: Any, options: SamplerOptions) -> None:
        super().__init__(len(dataset), options, uneven=not options.drop_last)
        if options.batch_size < 4 or options.batch_size % 2:
            raise InputError(
                "batch_sampler='group_by_label' needs an even batch size of at least 4, for two "
                f"rows of two labels; found {options.batch_size}."
            )
        rows: dict[Any, list[int]] = {}
        for row, label in enumerate(_labels(dataset)):
            rows.setdefault(label, []).append(row)
        self._rows = [found for found in rows.values() if len(found) > 1]
        if len(self._rows) < 2:
            raise LabelError(
                "batch_sampler='group_by_label' needs at least two labels with two rows each; of "
                f"{len(rows)} labels, {len(self._rows)} have two rows. Use "
                "batch_sampler='batch_sampler'."
            )
        lone = len(rows) - len(self._rows)
        if lone:
            logger.warning("GROUP_BY_LABEL leaves out %d rows whose label no other row has.", lone)
        self._twos = [len(found) // 2 for found in self._rows]
        total, per_batch = sum(self._twos), options.batch_size // 2
        wanted = total // per_batch if options.drop_last else -(-total // per_batch)
        # A batch needs two twos, and one that is not of the most frequent label.
        self._batches = min(wanted, total // 2, total - max(self._twos))

    def _used(self, generator: torch.Generator) -> list[int]:
        """How many twos of each label this epoch uses: what does not fit is cut off the largest."""
        surplus = sum(self._twos) - self._batches * (self.options.batch_size // 2)
        used = list(self._twos)
        ties = permutation(len(used), generator)
        heap = [(-count, ties[label], label) for label, count in enumerate(used)]
        heapq.heapify(heap)
        for _ in range(surplus):
            count, tie, label = heap[0]
            used[label] -= 1
            heapq.heapreplace(heap, (count + 1, tie, label))
        return used

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = self.generator()
        chosen: list[list[int]] = []
        for rows, twos in zip(self._rows, self._used(generator), strict=True):
            order = permutation(len(rows), generator)[: 2 * twos]
            chosen.append([rows[i] for i in order])
        labels = permutation(len(chosen), generator)
        labels.sort(key=lambda label: -len(chosen[label]))  # stable: equal ones stay shuffled
        batches: list[list[int]] = [[] for _ in range(self._batches)]
        dealt = 0
        for label in labels:
            for start in range(0, len(chosen[label]), 2):
                batches[dealt % self._batches].extend(chosen[label][start : start + 2])
                dealt += 1
        for number in permutation(len(batches), generator):
            yield batches[number]


def _labels(dataset: Any) -> list[Any]:
    labels = label_values(dataset)
    if labels is None:
        names = ", ".join(repr(name) for name in LABEL_COLUMNS)
        raise LabelError(
            f"batch_sampler='group_by_label' needs a label column, called one of {names}; found "
            f"{', '.join(map(repr, dataset.column_names))}."
        )
    if any(isinstance(label, list | tuple | torch.Tensor) for label in labels):
        raise LabelError(
            "batch_sampler='group_by_label' needs one label per row, found a list of them. Use "
            "batch_sampler='batch_sampler'."
        )
    return labels
