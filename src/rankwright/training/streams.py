"""Batches from streams: rows that come one after another, without a length.

To the trainer, a stream is one long epoch of batches, so that "skip the first n batches" finds the
same place again when training is resumed, whichever pass over the data that was in.

Dataloader workers all read the whole stream, and each prepares every n-th batch. Reading texts is
little beside tokenising them, and so the batches and their order do not depend on the number of
workers or of shards.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import BatchSampler, get_worker_info
from torch.utils.data import IterableDataset as TorchIterableDataset

from rankwright.data.columns import input_columns, label_column
from rankwright.errors import EmptyDataError, InputError
from rankwright.training.sampling.base import SamplerOptions, permutation
from rankwright.training.sampling.lengths import STRETCH, by_length
from rankwright.training.sampling.mixing import NamedRows, evenly_spread
from rankwright.training.sampling.queries import choose_documents
from rankwright.training.sampling.texts import is_flat, row_texts

__all__ = ["BatchStream", "Endless", "FromSampler", "FromStream"]

logger = logging.getLogger(__name__)

_ENOUGH = 1_000
"""Queries after which a stream without any two rows of one query draws a warning."""

Row = Mapping[str, Any]
Batches = Iterator[list[Row]]


class Endless(TorchIterableDataset[Any]):
    """A stream that starts over, reshuffled, whenever it ends.

    Args:
        stream: A `datasets.IterableDataset`.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream
        self.epoch = 0

    def __iter__(self) -> Iterator[Any]:
        in_worker = get_worker_info() is not None
        # Workers would otherwise share one epoch counter in memory, and they do not reach the end
        # of the stream at the same time.
        stream = copy.deepcopy(self.stream) if in_worker else self.stream
        for self.epoch in itertools.count():
            stream.set_epoch(self.epoch)
            row = None
            for row in _all_rows(stream):
                yield row
            if row is None:
                raise EmptyDataError("the training stream has no rows.")


@dataclass(frozen=True)
class FromStream:
    """The batches of a stream of rows.

    Attributes:
        rows: An iterable of rows, `Endless` for training.
        kind: How rows are put into batches: ``batch_sampler`` as they come, ``length_grouped``,
            ``no_duplicates`` or ``query_grouped``.
        options: Batch size, seed and so on.
    """

    rows: Any
    kind: str
    options: SamplerOptions

    def __iter__(self) -> Batches:
        size = self.options.batch_size
        if self.kind == "query_grouped":
            return _by_query(self)
        rows = _all_rows(self.rows)
        if self.kind == "length_grouped":
            return _by_length(rows, self.options)
        if self.kind == "no_duplicates":
            return _without_duplicates(rows, size)
        return iter(lambda: list(itertools.islice(rows, size)), [])


@dataclass(frozen=True)
class FromSampler:
    """The batches of a data set with a length, in the company of streams.

    Attributes:
        dataset: The rows.
        sampler: Chooses them.
        endless: Whether to start over, reshuffled, whenever all batches have come.
    """

    dataset: Any
    sampler: BatchSampler
    endless: bool = True

    def __iter__(self) -> Batches:
        sampler: Any = self.sampler
        for epoch in itertools.count() if self.endless else range(1):
            sampler.set_epoch(epoch)
            given = False
            for batch in sampler:
                given = True
                yield list(self.dataset.__getitems__(batch))
            if not given:
                raise InputError(
                    "a data set of the mixture gives no batch: it has fewer rows than one batch "
                    "holds, and batches that are not full are left out."
                )


class BatchStream(TorchIterableDataset[list[Row]]):
    """Whole batches, each from one source.

    A dataloader takes it with ``batch_size=1``: an element is a batch. So several processes get
    different batches, and each batch comes from one data set.

    Args:
        sources: Name of each data set -> its batches; a data set without name has the name None.
        weights: How often the turn of each comes; None to take one source after another.
        processes: How many will share the batches out among them, in turn.
    """

    def __init__(
        self,
        sources: Mapping[str | None, Any],
        weights: Sequence[float] | None = None,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.sources = dict(sources)
        self.weights = weights
        self.processes = processes

    def __iter__(self) -> Batches:
        worker = get_worker_info()
        if worker is None:
            yield from self._all()
            return
        # One batch for each process, then it is the next worker's turn.
        for number, batch in enumerate(self._all()):
            if number // self.processes % worker.num_workers == worker.id:
                yield batch

    def _all(self) -> Batches:
        if self.weights is None or len(self.sources) == 1:
            for name, source in self.sources.items():
                yield from (_named(batch, name) for batch in source)
            return
        names = list(self.sources)
        batches = [iter(source) for source in self.sources.values()]
        for turn in evenly_spread(self.weights):
            yield _named(next(batches[turn]), names[turn])  # none of them ends


def _all_rows(rows: Any) -> Iterator[Row]:
    """The rows of a stream. In a worker, its own iterator would leave out other workers' shards."""
    from datasets import IterableDataset

    if not isinstance(rows, IterableDataset):
        return iter(rows)
    return ({name: values[0] for name, values in one.items()} for one in rows.iter(batch_size=1))


def _named(batch: list[Row], name: str | None) -> list[Row]:
    return batch if name is None else NamedRows(batch, name)


def _texts(row: Row) -> list[str]:
    return next(row_texts({name: [value] for name, value in row.items()}))


def _by_length(rows: Iterator[Row], options: SamplerOptions) -> Batches:
    """Stretches of many batches are sorted by length and cut; their batches come shuffled."""
    size = options.batch_size
    for number in itertools.count():
        stretch = list(itertools.islice(rows, STRETCH * size))
        if not stretch:
            return
        lengths = [sum(map(len, _texts(row))) for row in stretch]
        batches = by_length(stretch, lengths, size)
        generator = torch.Generator().manual_seed(options.seed + number)
        yield from (batches[i] for i in permutation(len(batches), generator))


def _without_duplicates(rows: Iterator[Row], size: int) -> Batches:
    """Rows that clash wait; when too many wait, batches come short rather than any row be lost."""
    waiting: deque[tuple[Row, frozenset[str]]] = deque()
    while True:
        batch: list[Row] = []
        seen: set[str] = set()
        clashing: deque[tuple[Row, frozenset[str]]] = deque()
        while len(batch) < size and (waiting or len(clashing) < STRETCH * size):
            if not waiting:
                new = next(rows, None)
                if new is None:
                    break
                waiting.append((new, frozenset(_texts(new))))
            row, texts = waiting.popleft()
            if seen.isdisjoint(texts):
                batch.append(row)
                seen |= texts
            else:
                clashing.append((row, texts))
        clashing.extend(waiting)
        waiting = clashing
        if not batch:
            return
        yield batch


def _by_query(source: FromStream) -> Batches:
    groups = _groups(source)
    while queries := list(itertools.islice(groups, source.options.batch_size)):
        yield [row for rows in queries for row in rows]


def _groups(source: FromStream) -> Batches:
    """The rows of each query, which are adjacent in the stream."""
    rows = _all_rows(source.rows)
    first = next(rows, None)
    if first is None:
        return
    rows = itertools.chain([first], rows)
    if not is_flat({name: [value] for name, value in first.items()}):
        yield from ([row] for row in rows)
        return
    options = source.options
    largest = 0
    # A query may be the last one of a pass over the stream and the first of the next.
    passes = itertools.groupby(rows, lambda row: (getattr(source.rows, "epoch", 0), _query(row)))
    for number, (_, found) in enumerate(passes):
        group = list(found)
        if len(group) > options.max_documents >= largest:
            logger.warning(
                "A query of the stream has %d rows; of such queries, only %d rows are seen in one "
                "pass. Raise max_documents_per_query to see more of them.",
                *(len(group), options.max_documents),
            )
        largest = max(largest, len(group))
        if number == _ENOUGH and largest == 1:
            logger.warning(
                "batch_sampler='query_grouped' has found no two neighbouring rows with the same "
                "query among the first %d rows of a stream. Sort the stream by query, and do not "
                "shuffle it row by row.",
                _ENOUGH,
            )
        if len(group) > options.max_documents:
            label = label_column(list(group[0]))
            labels = None if label is None else [row[label] for row in group]
            generator = torch.Generator().manual_seed(options.seed + number)
            chosen = choose_documents(labels, len(group), options.max_documents, generator)
            group = [group[i] for i in chosen]
        yield group


def _query(row: Row) -> Any:
    return row[input_columns(list(row))[0]]
