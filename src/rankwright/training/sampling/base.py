"""What all batch samplers have in common.

Every sampler draws from its own generator, seeded with ``seed + epoch``: the order follows from
these two numbers alone, so a resumed run continues exactly where it stopped, and nothing else
that draws random numbers can change it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import BatchSampler

__all__ = [
    "DefaultBatchSampler",
    "EpochBatchSampler",
    "InOrderSampler",
    "Reseeded",
    "SamplerOptions",
    "ShuffledSampler",
    "cut",
    "permutation",
]


@dataclass(frozen=True)
class SamplerOptions:
    """What all samplers are told.

    Attributes:
        batch_size: Rows per batch; queries per batch where rows are grouped by query.
        drop_last: Whether batches that are not full are left out.
        seed: The order of epoch e follows from ``seed + e``.
        max_documents: Most rows of one query in a group, where rows are grouped by query.
    """

    batch_size: int
    drop_last: bool = False
    seed: int = 0
    max_documents: int = 64


class EpochBatchSampler(BatchSampler):
    """Yields lists of row numbers; `set_epoch` chooses the order.

    Its ``batch_size`` is None if a batch before the last one may be smaller than others: that is
    how accelerate, which shares batches out among processes, is told to count batches, not rows.

    Args:
        num_rows: Rows in the dataset.
        options: Batch size, seed and so on.
        uneven: Whether a batch before the last one may be smaller than others.
    """

    def __init__(self, num_rows: int, options: SamplerOptions, *, uneven: bool = False) -> None:
        self.num_rows = num_rows
        self.options = options
        self.batch_size: Any = None if uneven else options.batch_size
        self.drop_last = options.drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, counted from 0."""
        self.epoch = epoch

    def generator(self) -> torch.Generator:
        """A fresh generator for the current epoch."""
        return torch.Generator().manual_seed(self.options.seed + self.epoch)

    def __len__(self) -> int:
        full, rest = divmod(self.num_rows, self.options.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @abstractmethod
    def __iter__(self) -> Iterator[list[int]]:
        """Lists of row numbers."""


class InOrderSampler(EpochBatchSampler):
    """Rows as they come."""

    def __iter__(self) -> Iterator[list[int]]:
        return cut(range(self.num_rows), self.options)


class ShuffledSampler(EpochBatchSampler):
    """Rows in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        return cut(permutation(self.num_rows, self.generator()), self.options)


class DefaultBatchSampler(BatchSampler):
    """The base of samplers of one's own: subclass it and pass the class as ``batch_sampler``.

    As it is, it shuffles the rows. A subclass overrides ``__iter__`` (and ``__len__``, if it
    gives another number of batches); before every epoch ``generator`` is seeded with ``seed``
    plus the number of the epoch, which is in ``epoch``.

    Args:
        dataset: The rows to sample from, with a length.
        batch_size: Rows per batch.
        drop_last: Whether a last batch that is not full is left out.
        valid_label_columns: Names of the label column; the first that is present counts.
        generator: For drawing random numbers.
        seed: Seed of the first epoch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size: Any = batch_size
        self.drop_last = drop_last
        self.valid_label_columns = valid_label_columns
        self.generator = torch.Generator() if generator is None else generator
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        self.generator.manual_seed(self.seed + self.epoch)
        order = permutation(len(self.dataset), self.generator)
        return cut(order, SamplerOptions(self.batch_size, self.drop_last))

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return int(full + (rest > 0 and not self.drop_last))


class Reseeded(BatchSampler):
    """Somebody's sampler, whose generator is seeded anew before every epoch.

    Without that, what it draws in an epoch would depend on how many epochs this process has seen,
    and a resumed run would take another order than one that was never interrupted.

    Args:
        sampler: Any batch sampler.
        generator: The generator it was given.
        seed: Seed of the first epoch.
    """

    def __init__(self, sampler: Any, generator: torch.Generator, seed: int) -> None:
        self.wrapped: Any = sampler
        self.generator = generator
        self.seed = seed
        self.epoch = 0
        # Nobody can know whether its batches are all of one size.
        self.batch_size: Any = None
        self.drop_last = bool(getattr(sampler, "drop_last", False))

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, counted from 0."""
        self.epoch = epoch
        if hasattr(self.wrapped, "set_epoch"):
            self.wrapped.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        self.generator.manual_seed(self.seed + self.epoch)
        yield from self.wrapped

    def __len__(self) -> int:
        count: int = len(self.wrapped)
        return count


def permutation(count: int, generator: torch.Generator) -> list[int]:
    """The numbers below ``count`` in random order."""
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def cut(rows: Sequence[int], options: SamplerOptions) -> Iterator[list[int]]:
    """Consecutive batches; the last one may be smaller, or is left out."""
    for start in range(0, len(rows), options.batch_size):
        batch = list(rows[start : start + options.batch_size])
        if len(batch) == options.batch_size or not options.drop_last:
            yield batch
