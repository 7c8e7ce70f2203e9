"""Batches in which no text appears twice."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from rankwright.errors import DataError
from rankwright.training.sampling.base import EpochBatchSampler, SamplerOptions, permutation
from rankwright.training.sampling.texts import text_ids

__all__ = ["NoDuplicatesSampler"]

logger = logging.getLogger(__name__)


class NoDuplicatesSampler(EpochBatchSampler):
    """Random order, but no text appears in two rows of one batch.

    An epoch has as many batches as any other sampler would make of the rows. Rows are taken in
    random order; one that clashes waits, and a text that must be in every batch that is left, if
    all its rows are to be seen, goes first. No row is seen twice in an epoch, and every row once,
    as far as the texts allow: where one is in more rows than there are batches, or where texts are
    shared so much that batches cannot be filled, some rows, other ones in every epoch, are left
    out, and the log says how many. With ``drop_last``, a batch that the remaining rows cannot fill
    is filled with rows that were seen before.

    The work of an epoch grows with the number of rows, however many texts are shared.

    Args:
        dataset: A dataset with text columns, lists of texts included.
        options: Batch size, seed and so on.

    Raises:
        DataError: With ``drop_last``, not even one batch can be filled without a text twice.
    """

    def __init__(self, dataset: Any, options: SamplerOptions) -> None:
        super().__init__(len(dataset), options, uneven=not options.drop_last)
        ids, starts = text_ids(dataset)
        # A text that is in one row only can never clash.
        shared = np.bincount(ids) > 1 if len(ids) else np.zeros(0, bool)
        kept = shared[ids]
        before = np.concatenate([[0], np.cumsum(kept)])
        self.num_texts = int(shared.sum())
        self._texts: list[int] = (np.cumsum(shared) - 1)[ids[kept]].tolist()
        self._starts: list[int] = before[starts].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        epoch = _Epoch(self, permutation(self.num_rows, self.generator()))
        for number in range(len(self)):
            batch = epoch.next_batch(number)
            if self.drop_last:
                epoch.fill(batch, number)
            yield batch
        left = epoch.left()
        # Without drop_last the last batch takes what remains; with it, that much may be left.
        if left > (self.num_rows % self.options.batch_size if self.drop_last else 0):
            logger.warning(
                "NO_DUPLICATES left out %d of %d rows in epoch %d: too many rows share a text for "
                "batches of %d. Use smaller batches to see them all.",
                *(left, self.num_rows, self.epoch, self.options.batch_size),
            )

    def texts_of(self, row: int) -> list[int]:
        """Numbers, below ``num_texts``, of the texts that this row shares with others."""
        return self._texts[self._starts[row] : self._starts[row + 1]]


class _Epoch:
    """One pass over the rows.

    ``ready`` holds the rows to be tried next. A row that clashes because of a text is parked with
    that text; after a batch with the text, one of the rows parked with it is made ready again, for
    no batch can take more than one. So a row is looked at a few times, not once per batch.
    """

    def __init__(self, sampler: NoDuplicatesSampler, order: list[int]) -> None:
        self.sampler = sampler
        self.size = sampler.options.batch_size
        self.order = order
        self.ready = deque(order)
        self.parked: dict[int, deque[int]] = {}
        self.placed = bytearray(len(order))
        # The number of the last batch a text was in.
        self.last_used = [-1] * sampler.num_texts
        self.rows_with: list[list[int]] = [[] for _ in range(sampler.num_texts)]
        for row in reversed(order):  # so that the next one is the last of the list
            for text in sampler.texts_of(row):
                self.rows_with[text].append(row)
        self.remaining = [len(rows) for rows in self.rows_with]
        self.by_remaining: dict[int, dict[int, None]] = {}
        for text, count in enumerate(self.remaining):
            self.by_remaining.setdefault(count, {})[text] = None
        # Those that are in more rows than there are batches are urgent from the start.
        self.urgent: dict[int, None] = {}
        for count in sorted(self.by_remaining, reverse=True):
            if count > len(sampler):
                self.urgent.update(self.by_remaining[count])
        self.refill = 0

    def next_batch(self, number: int) -> list[int]:
        """The next batch; short, or even empty, if too many of the remaining rows clash."""
        batch: list[int] = []
        used: list[int] = []
        batches_left = len(self.sampler) - number
        self.urgent.update(self.by_remaining.get(batches_left, {}))
        for text in list(self.urgent):
            if len(batch) == self.size:
                break
            rows = self.rows_with[text]
            while rows and self.placed[rows[-1]]:
                rows.pop()
            if not rows:
                del self.urgent[text]
            elif self._clash(rows[-1], number) is None:
                self._place(rows[-1], number, batch, used)
        revived: list[int] = []
        while self.ready and len(batch) < self.size:
            row = self.ready.popleft()
            if self.placed[row]:
                continue
            clash = self._clash(row, number)
            if clash is None:
                self._place(row, number, batch, used)
            else:
                self.parked.setdefault(clash, deque()).append(row)
                # The texts that it was ready for may have other rows that are not.
                revived.extend(t for t in self.sampler.texts_of(row) if t in self.parked)
        for text in dict.fromkeys([*used, *revived]):
            self._release(text)
        return batch

    def fill(self, batch: list[int], number: int) -> None:
        """Adds rows that were seen before until the batch is full.

        Raises:
            DataError: There are not enough rows without a text in common.
        """
        held = set(batch)
        for _ in range(len(self.order)):
            if len(batch) == self.size:
                return
            row = self.order[self.refill % len(self.order)]
            self.refill += 1
            if row not in held and self._clash(row, number) is None:
                self._place(row, number, batch, [])
                held.add(row)
        if len(batch) < self.size:
            raise DataError(
                f"no batch of {self.size} rows without a text in common can be made: too many rows "
                "share a text. Use a smaller per_device_train_batch_size, or "
                "batch_sampler='batch_sampler'."
            )

    def left(self) -> int:
        """Rows that are in no batch."""
        return len(self.placed) - sum(self.placed)

    def _clash(self, row: int, number: int) -> int | None:
        """A text of this row that the batch has already."""
        return next((t for t in self.sampler.texts_of(row) if self.last_used[t] == number), None)

    def _place(self, row: int, number: int, batch: list[int], used: list[int]) -> None:
        batch.append(row)
        seen_before, self.placed[row] = self.placed[row], 1
        for text in self.sampler.texts_of(row):
            self.last_used[text] = number
            used.append(text)
            if not seen_before:
                count = self.remaining[text]
                self.remaining[text] = count - 1
                del self.by_remaining[count][text]
                self.by_remaining.setdefault(count - 1, {})[text] = None

    def _release(self, text: int) -> None:
        rows = self.parked.get(text)
        while rows and self.placed[rows[0]]:
            rows.popleft()
        if rows:
            self.ready.append(rows.popleft())
        if not rows:
            self.parked.pop(text, None)
