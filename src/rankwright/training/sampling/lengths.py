"""Batches of rows of nearly equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rankwright.training.sampling.base import EpochBatchSampler, SamplerOptions, cut, permutation

__all__ = ["STRETCH", "LengthGroupedSampler", "by_length"]

STRETCH = 50
"""Batches that are sorted together: more give batches of more equal length, fewer more chance."""

Row = TypeVar("Row")


def by_length(rows: Sequence[Row], lengths: Sequence[int], batch_size: int) -> list[list[Row]]:
    """Batches of rows of nearly equal length, the longest first; the last one may be smaller."""
    order = sorted(range(len(rows)), key=lambda i: -lengths[i])
    return [[rows[i] for i in batch] for batch in cut(order, SamplerOptions(batch_size))]


class LengthGroupedSampler(EpochBatchSampler):
    """Random batches of rows of nearly equal length.

    Rows are shuffled and taken in stretches of `STRETCH` batches; each stretch is sorted by length
    and cut into batches, and the batches are shuffled. The very first batch holds the longest
    rows, so that a lack of memory shows at once.

    Args:
        lengths: Length of every row, in any unit.
        options: Batch size, seed and so on.
    """

    def __init__(self, lengths: Sequence[int], options: SamplerOptions) -> None:
        super().__init__(len(lengths), options, uneven=not options.drop_last)
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        generator = self.generator()
        size = self.options.batch_size
        order = permutation(self.num_rows, generator)
        if self.drop_last:
            order = order[: len(self) * size]
        batches: list[list[int]] = []
        for start in range(0, len(order), STRETCH * size):
            rows = order[start : start + STRETCH * size]
            batches.extend(by_length(rows, [self.lengths[row] for row in rows], size))
        if not batches:
            return
        longest = max(range(len(batches)), key=lambda b: self.lengths[batches[b][0]])
        batches[0], batches[longest] = batches[longest], batches[0]
        yield batches[0]
        for i in permutation(len(batches) - 1, generator):
            yield batches[i + 1]
