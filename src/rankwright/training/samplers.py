"""In which order rows are seen, and which of them share a batch.

Every sampler draws from its own generator, seeded with ``seed + epoch``: the order follows from
these two numbers alone, so a resumed run continues exactly where it stopped, and nothing else
that draws random numbers can change it.
"""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch.utils.data import BatchSampler

from rankwright.data.columns import LABEL_COLUMNS, input_columns
from rankwright.errors import InputError

__all__ = [
    "BatchSamplers",
    "EpochBatchSampler",
    "LengthGroupedSampler",
    "MultiDatasetBatchSamplers",
    "NoDuplicatesSampler",
    "SamplerOptions",
    "ShuffledSampler",
    "build_batch_sampler",
]

logger = logging.getLogger(__name__)


class BatchSamplers(str, Enum):
    """How rows are put into batches."""

    BATCH_SAMPLER = "batch_sampler"
    """Shuffled; any rows may share a batch."""
    NO_DUPLICATES = "no_duplicates"
    """Shuffled; no text appears in two rows of a batch. For losses with in-batch negatives."""
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    """The same; `NO_DUPLICATES` compares hashes here anyway."""
    GROUP_BY_LABEL = "group_by_label"
    """Of use to embedding losses only; not available for cross-encoders."""


class MultiDatasetBatchSamplers(str, Enum):
    """In which turn several data sets give their batches."""

    ROUND_ROBIN = "round_robin"
    """One batch of each in turn, until one is exhausted."""
    PROPORTIONAL = "proportional"
    """In proportion to their sizes, until all are exhausted."""


@dataclass(frozen=True)
class SamplerOptions:
    """What all samplers are told.

    Attributes:
        batch_size: Rows per batch.
        drop_last: Whether batches that are not full are left out.
        seed: The order of epoch e follows from ``seed + e``.
    """

    batch_size: int
    drop_last: bool = False
    seed: int = 0


class EpochBatchSampler(BatchSampler):
    """Yields lists of row numbers; `set_epoch` chooses the order.

    Args:
        num_rows: Rows in the dataset.
        options: Batch size, seed and so on.
    """

    def __init__(self, num_rows: int, options: SamplerOptions) -> None:
        self.num_rows = num_rows
        self.options = options
        self.batch_size = options.batch_size
        self.drop_last = options.drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, counted from 0."""
        self.epoch = epoch

    def generator(self) -> torch.Generator:
        """A fresh generator for the current epoch."""
        return torch.Generator().manual_seed(self.options.seed + self.epoch)

    def __len__(self) -> int:
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @abstractmethod
    def __iter__(self) -> Iterator[list[int]]:
        """Lists of at most ``batch_size`` row numbers."""


class InOrderSampler(EpochBatchSampler):
    """Rows as they come."""

    def __iter__(self) -> Iterator[list[int]]:
        return _cut(list(range(self.num_rows)), self)


class ShuffledSampler(EpochBatchSampler):
    """Rows in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        return _cut(torch.randperm(self.num_rows, generator=self.generator()).tolist(), self)


class NoDuplicatesSampler(EpochBatchSampler):
    """Random order, but no text appears in two rows of one batch.

    A row that clashes waits for the next batch. What is still waiting when the epoch has had
    its number of batches is left out of this epoch, and the log says how many rows that were.

    Args:
        dataset: A dataset with text columns.
        options: Batch size, seed and so on.
    """

    def __init__(self, dataset: Any, options: SamplerOptions) -> None:
        super().__init__(len(dataset), options)
        self._texts = _row_hashes(dataset)

    def __iter__(self) -> Iterator[list[int]]:
        waiting: list[int] = torch.randperm(self.num_rows, generator=self.generator()).tolist()
        waiting.reverse()  # the end of the list is the head of the queue
        placed = 0
        for _ in range(len(self)):
            batch, clashing = self._take(waiting)
            waiting.extend(reversed(clashing))
            if not batch or (self.drop_last and len(batch) < self.batch_size):
                break
            placed += len(batch)
            yield batch
        if placed < self.num_rows and not self.drop_last:
            logger.warning(
                "NO_DUPLICATES left out %d of %d rows in epoch %d: too many rows share a text for "
                "batches of %d. Use smaller batches to see them all.",
                *(self.num_rows - placed, self.num_rows, self.epoch, self.batch_size),
            )

    def _take(self, waiting: list[int]) -> tuple[list[int], list[int]]:
        batch: list[int] = []
        clashing: list[int] = []
        seen: set[int] = set()
        while waiting and len(batch) < self.batch_size:
            row = waiting.pop()
            if seen.isdisjoint(self._texts[row]):
                batch.append(row)
                seen.update(self._texts[row])
            else:
                clashing.append(row)
        return batch, clashing


class LengthGroupedSampler(EpochBatchSampler):
    """Random batches of rows of nearly equal length.

    Rows are shuffled and taken in stretches of many batches; each stretch is sorted by length
    and cut into batches, and the batches are shuffled. The very first batch holds the longest
    rows, so that a lack of memory shows at once.

    Args:
        lengths: Length of every row, in any unit.
        options: Batch size, seed and so on.
    """

    STRETCH = 50
    """Batches per stretch."""

    def __init__(self, lengths: Sequence[int], options: SamplerOptions) -> None:
        super().__init__(len(lengths), options)
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        generator = self.generator()
        order: list[int] = torch.randperm(self.num_rows, generator=generator).tolist()
        if self.drop_last:
            order = order[: len(self) * self.batch_size]
        stretch = self.STRETCH * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), stretch):
            rows = sorted(order[start : start + stretch], key=lambda i: -self.lengths[i])
            batches.extend(_cut(rows, self))
        if not batches:
            return
        longest = max(range(len(batches)), key=lambda b: self.lengths[batches[b][0]])
        batches[0], batches[longest] = batches[longest], batches[0]
        yield batches[0]
        for i in torch.randperm(len(batches) - 1, generator=generator).tolist():
            yield batches[i + 1]


def build_batch_sampler(
    dataset: Any,
    kind: BatchSamplers | str | type | Callable[..., Any],
    strategy: str,
    options: SamplerOptions,
) -> BatchSampler:
    """The sampler for a dataset with a length.

    Args:
        dataset: The training data.
        kind: A `BatchSamplers`, or a class or function that makes a batch sampler when called
            with ``(dataset, batch_size=, drop_last=, valid_label_columns=, generator=, seed=)``.
        strategy: ``train_sampling_strategy`` of the training arguments: ``random``,
            ``sequential`` or ``group_by_length``.
        options: Batch size, seed and so on.

    Raises:
        InputError: A sampler or strategy that is not available.
    """
    if not isinstance(kind, str):
        made: BatchSampler = kind(
            dataset,
            batch_size=options.batch_size,
            drop_last=options.drop_last,
            valid_label_columns=list(LABEL_COLUMNS),
            generator=torch.Generator().manual_seed(options.seed),
            seed=options.seed,
        )
        return made
    kind = BatchSamplers(kind)
    if kind is BatchSamplers.GROUP_BY_LABEL:
        raise InputError(
            "batch_sampler='group_by_label' serves losses that compare embeddings within a batch; "
            "no cross-encoder loss does. Use 'batch_sampler' or 'no_duplicates'."
        )
    if kind is not BatchSamplers.BATCH_SAMPLER:
        if strategy != "random":
            raise InputError(
                f"batch_sampler='{kind.value}' and train_sampling_strategy='{strategy}' both "
                "decide which rows share a batch; set one of them only."
            )
        return NoDuplicatesSampler(dataset, options)
    if strategy == "random":
        return ShuffledSampler(len(dataset), options)
    if strategy == "sequential":
        return InOrderSampler(len(dataset), options)
    if strategy == "group_by_length":
        return LengthGroupedSampler(_row_lengths(dataset), options)
    raise InputError(
        f"train_sampling_strategy='{strategy}' is not available here; use 'random', "
        "'sequential' or 'group_by_length'."
    )


def _cut(rows: list[int], sampler: EpochBatchSampler) -> Iterator[list[int]]:
    for start in range(0, len(rows), sampler.batch_size):
        batch = rows[start : start + sampler.batch_size]
        if len(batch) == sampler.batch_size or not sampler.drop_last:
            yield batch


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)


def _row_texts(dataset: Any) -> Iterator[list[str]]:
    """The texts of every row, read in large blocks."""
    names = input_columns(dataset.column_names)
    block = 10_000
    for start in range(0, len(dataset), block):
        columns: Mapping[str, Sequence[Any]] = dataset[start : start + block]
        for values in zip(*(columns[name] for name in names), strict=True):
            yield [text for value in values for text in _texts(value)]


def _row_hashes(dataset: Any) -> list[frozenset[int]]:
    # Only equality matters, so 8 bytes per text do: a clash by chance merely separates two rows.
    return [
        frozenset(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            for text in texts
        )
        for texts in _row_texts(dataset)
    ]


def _row_lengths(dataset: Any) -> list[int]:
    return [sum(map(len, texts)) for texts in _row_texts(dataset)]
