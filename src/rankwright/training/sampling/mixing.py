"""In which turn several data sets give their batches."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, ConcatDataset

from rankwright.errors import InputError
from rankwright.training.sampling.base import permutation

__all__ = [
    "Consecutive",
    "Mixture",
    "MultiDatasetDefaultBatchSampler",
    "NamedRows",
    "Proportional",
    "RoundRobin",
    "Shares",
    "apportion",
    "evenly_spread",
]


class NamedRows(list[Any]):
    """Rows of one data set, which know its name.

    Args:
        rows: Rows of a data set, each a dict.
        dataset_name: Its name.
    """

    def __init__(self, rows: Sequence[Any], dataset_name: str) -> None:
        super().__init__(rows)
        self.dataset_name = dataset_name


class Mixture(ConcatDataset[Any]):
    """Several data sets as one: row i of the second follows the last row of the first.

    Args:
        named: Name -> data set with a length.
    """

    def __init__(self, named: Mapping[str, Any]) -> None:
        super().__init__(list(named.values()))
        self.names = list(named)

    def __getitems__(self, rows: Sequence[int]) -> NamedRows:
        """The rows of a batch.

        Raises:
            InputError: Rows of several data sets: they may have other columns, and another loss.
        """
        parts = {self.place(row)[0] for row in rows}
        if len(parts) != 1:
            found = " and ".join(repr(self.names[part]) for part in sorted(parts)) or "none"
            raise InputError(
                f"a batch holds rows of {found}; each batch must come from one data set. Correct "
                "the sampler that was passed as multi_dataset_batch_sampler."
            )
        part = parts.pop()
        dataset = self.datasets[part]
        local = [self.place(row)[1] for row in rows]
        many = getattr(dataset, "__getitems__", None)
        found_rows = [dataset[row] for row in local] if many is None else many(local)
        return NamedRows(found_rows, self.names[part])

    def place(self, row: int) -> tuple[int, int]:
        """The number of the data set that a row is in, and its number there."""
        part = bisect.bisect_right(self.cumulative_sizes, row)
        return part, row - (self.cumulative_sizes[part - 1] if part else 0)


class MultiDatasetDefaultBatchSampler(BatchSampler):
    """The base of samplers over several data sets; for one's own, subclass it.

    Subclasses implement ``__iter__``, which gives lists of row numbers of ``dataset`` (each list
    from one data set), and ``__len__``. `batches_of` gives the batches of one data set so. Before
    every epoch ``generator`` should be seeded with ``seed + epoch``, as `seeded` does.

    Args:
        dataset: All data sets, one after another.
        batch_samplers: A batch sampler for each.
        generator: For drawing random numbers.
        seed: Seed of the first epoch.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: Sequence[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:
        if len(dataset.datasets) != len(batch_samplers):
            raise InputError(
                f"there are {len(dataset.datasets)} data sets and {len(batch_samplers)} batch "
                "samplers; each data set needs one."
            )
        self.dataset = dataset
        self.batch_samplers = list(batch_samplers)
        self.generator = torch.Generator() if generator is None else generator
        self.seed = seed
        self.epoch = 0
        # Batches of different data sets need not be of one size.
        self.batch_size: Any = None
        self.drop_last = all(getattr(s, "drop_last", False) for s in batch_samplers)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch, counted from 0, here and in each data set."""
        self.epoch = epoch
        for sampler in self.batch_samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def seeded(self) -> torch.Generator:
        """The generator, as it is at the start of this epoch."""
        return self.generator.manual_seed(self.seed + self.epoch)

    def batches_of(self, part: int) -> Iterator[list[int]]:
        """The batches of one data set, as row numbers of ``dataset``."""
        offset = self.dataset.cumulative_sizes[part - 1] if part else 0
        for batch in self.batch_samplers[part]:
            yield [offset + row for row in batch]

    @abstractmethod
    def __iter__(self) -> Iterator[list[int]]:
        """Lists of row numbers, each from one data set."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches per epoch."""


class Consecutive(MultiDatasetDefaultBatchSampler):
    """All batches of the first data set, then all of the second, and so on."""

    def __iter__(self) -> Iterator[list[int]]:
        for part in range(len(self.batch_samplers)):
            yield from self.batches_of(part)

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.batch_samplers)


class RoundRobin(MultiDatasetDefaultBatchSampler):
    """One batch of each in turn, until one is exhausted."""

    def __iter__(self) -> Iterator[list[int]]:
        parts = [self.batches_of(part) for part in range(len(self.batch_samplers))]
        for turn in zip(*parts, strict=False):
            yield from turn

    def __len__(self) -> int:
        return min(len(sampler) for sampler in self.batch_samplers) * len(self.batch_samplers)


class Proportional(MultiDatasetDefaultBatchSampler):
    """All batches of all data sets, in random order."""

    def __iter__(self) -> Iterator[list[int]]:
        parts = [self.batches_of(part) for part in range(len(self.batch_samplers))]
        turns = [part for part, s in enumerate(self.batch_samplers) for _ in range(len(s))]
        for turn in permutation(len(turns), self.seeded()):
            batch = next(parts[turns[turn]], None)
            if batch is not None:  # a sampler of somebody's may promise more than it gives
                yield batch

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.batch_samplers)


class Shares(MultiDatasetDefaultBatchSampler):
    """Each data set gives its share of the batches, in random order.

    An epoch has as many batches as all data sets have together. A data set with a large share is
    gone through more than once in an epoch, reshuffled each time, one with a small share is
    continued in the next epoch where it was left. Which batches come follows from seed and epoch.

    Args:
        dataset: All data sets, one after another.
        batch_samplers: A batch sampler for each.
        weights: A number above 0 for each; only their proportions count.
        seed: Seed of the first epoch.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: Sequence[BatchSampler],
        weights: Sequence[float],
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, batch_samplers, None, seed)
        self.turns = apportion(sum(len(s) for s in batch_samplers), weights)

    def __iter__(self) -> Iterator[list[int]]:
        parts = [self._continued(part) for part in range(len(self.turns))]
        turns = [part for part, count in enumerate(self.turns) for _ in range(count)]
        for turn in permutation(len(turns), self.seeded()):
            yield next(parts[turns[turn]])

    def _continued(self, part: int) -> Iterator[list[int]]:
        """The batches of a data set from where the epochs before have come to."""
        sampler: Any = self.batch_samplers[part]
        if len(sampler) == 0:
            raise InputError(
                f"data set {part + 1} of the mixture gives no batch: it has fewer rows than one "
                "batch holds, and batches that are not full are left out."
            )
        first, done = divmod(self.epoch * self.turns[part], len(sampler))
        for number in itertools.count(first):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(number)
            # All at once: a lazy sampler would see the number of another pass.
            yield from list(self.batches_of(part))[done:]
            done = 0

    def __len__(self) -> int:
        return sum(self.turns)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to ``weights`` that sum to ``total`` (largest remainders).

    None is 0, so that no data set is left out altogether; with more weights than ``total``, each
    is 1.
    """
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [max(1, int(value)) for value in exact]
    order = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in itertools.islice(itertools.cycle(order), max(0, total - sum(counts))):
        counts[i] += 1
    while sum(counts) > max(total, len(counts)):
        largest = max(range(len(counts)), key=lambda i: (counts[i] > 1, counts[i] - exact[i]))
        counts[largest] -= 1
    return counts


def evenly_spread(weights: Sequence[float]) -> Iterator[int]:
    """Numbers of weights without end, each as often as its weight says, evenly spread.

    Every turn goes to the weight that is furthest behind its share of the turns so far.
    """
    whole = sum(weights)
    given = [0] * len(weights)
    for turn in itertools.count(1):
        behind = [turn * weight / whole - given[i] for i, weight in enumerate(weights)]
        chosen = behind.index(max(behind))
        given[chosen] += 1
        yield chosen
