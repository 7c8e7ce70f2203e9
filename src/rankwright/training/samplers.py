"""Choosing samplers: which rows share a batch, and in which turn data sets give theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch.utils.data import BatchSampler

from rankwright.data.columns import LABEL_COLUMNS
from rankwright.errors import InputError
from rankwright.training.sampling.base import (
    DefaultBatchSampler,
    EpochBatchSampler,
    InOrderSampler,
    Reseeded,
    SamplerOptions,
    ShuffledSampler,
)
from rankwright.training.sampling.duplicates import NoDuplicatesSampler
from rankwright.training.sampling.labels import GroupByLabelSampler
from rankwright.training.sampling.lengths import LengthGroupedSampler
from rankwright.training.sampling.mixing import (
    Mixture,
    MultiDatasetDefaultBatchSampler,
    Proportional,
    RoundRobin,
    Shares,
)
from rankwright.training.sampling.queries import QueryGroupedSampler
from rankwright.training.sampling.texts import is_flat, row_lengths

__all__ = [
    "BatchSamplers",
    "DefaultBatchSampler",
    "EpochBatchSampler",
    "LengthGroupedSampler",
    "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler",
    "NoDuplicatesSampler",
    "SamplerOptions",
    "ShuffledSampler",
    "build_batch_sampler",
    "build_multi_sampler",
    "check_strategy",
    "mixing_weights",
]

SEED_STEP = 1_000_003
"""Added to the seed for each further data set, so that data sets of one size differ in order."""


class BatchSamplers(str, Enum):
    """How rows are put into batches."""

    BATCH_SAMPLER = "batch_sampler"
    """Shuffled; any rows may share a batch. Streams come in their own order."""
    NO_DUPLICATES = "no_duplicates"
    """Shuffled; no text appears in two rows of a batch. For losses with in-batch negatives."""
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    """The same; `NO_DUPLICATES` compares hashes here anyway."""
    GROUP_BY_LABEL = "group_by_label"
    """Every batch has at least two labels and two rows of each of its labels. Not for streams."""
    LENGTH_GROUPED = "length_grouped"
    """Rows of a batch are of nearly equal length, so that little is computed for padding where
    there is any, and steps take equally long. The same as
    ``train_sampling_strategy="group_by_length"``."""
    QUERY_GROUPED = "query_grouped"
    """From rows of (query, document, label), batches of whole queries: all rows of a query, up to
    ``max_documents_per_query``, are one group, so that losses that compare the documents of a query
    can be used. The batch size counts queries. In a stream, the rows of a query must be
    adjacent. Rows that hold several documents already are shuffled."""


class MultiDatasetBatchSamplers(str, Enum):
    """In which turn several data sets give their batches."""

    ROUND_ROBIN = "round_robin"
    """One batch of each in turn, until one is exhausted."""
    PROPORTIONAL = "proportional"
    """In proportion to their sizes, until all are exhausted. Not for streams."""
    TEMPERATURE = "temperature"
    """In proportion to ``size ** (1 / multi_dataset_temperature)``: small data sets are seen more
    often than their size says (Arivazhagan et al., 2019). An epoch has as many batches as with
    `PROPORTIONAL`; small data sets are repeated in it, large ones continued in the next. Not for
    streams."""


_SPECIAL = {
    BatchSamplers.NO_DUPLICATES: NoDuplicatesSampler,
    BatchSamplers.NO_DUPLICATES_HASHED: NoDuplicatesSampler,
    BatchSamplers.GROUP_BY_LABEL: GroupByLabelSampler,
}


def check_strategy(kind: Any, strategy: str) -> None:
    """Refuses a strategy that is unknown, or that contradicts the batch sampler.

    Args:
        kind: A `BatchSamplers`, or a class or function.
        strategy: ``train_sampling_strategy`` of the training arguments.

    Raises:
        InputError: Such a strategy.
    """
    strategy = str(getattr(strategy, "value", strategy))
    if strategy not in ("random", "sequential", "group_by_length"):
        raise InputError(
            f"train_sampling_strategy='{strategy}' is not available here; use 'random', "
            "'sequential' or 'group_by_length'."
        )
    same = kind == BatchSamplers.LENGTH_GROUPED and strategy == "group_by_length"
    if kind != BatchSamplers.BATCH_SAMPLER and strategy != "random" and not same:
        name = repr(kind.value) if isinstance(kind, BatchSamplers) else str(kind)
        raise InputError(
            f"batch_sampler={name} and train_sampling_strategy='{strategy}' both decide which rows "
            "share a batch; set one of them only."
        )


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
        LabelError: Labels that do not allow what the sampler is to do.
    """
    if isinstance(kind, str):
        kind = BatchSamplers(kind)
    check_strategy(kind, strategy)
    if not isinstance(kind, BatchSamplers):
        return _own(dataset, kind, options)
    if kind in _SPECIAL:
        return _SPECIAL[kind](dataset, options)
    if kind is BatchSamplers.QUERY_GROUPED and is_flat(dataset[:1]):
        return QueryGroupedSampler(dataset, options)
    if kind is BatchSamplers.LENGTH_GROUPED or strategy == "group_by_length":
        return LengthGroupedSampler(row_lengths(dataset), options)
    if strategy == "sequential":
        return InOrderSampler(len(dataset), options)
    return ShuffledSampler(len(dataset), options)


def _own(dataset: Any, make: Callable[..., Any], options: SamplerOptions) -> BatchSampler:
    generator = torch.Generator().manual_seed(options.seed)
    made = make(
        dataset,
        batch_size=options.batch_size,
        drop_last=options.drop_last,
        valid_label_columns=list(LABEL_COLUMNS),
        generator=generator,
        seed=options.seed,
    )
    return Reseeded(made, generator, options.seed)


def mixing_weights(
    kind: Any, names: Sequence[str], sizes: Sequence[int] | None, temperature: float
) -> list[float] | None:
    """How often each data set's turn comes.

    Args:
        kind: A `MultiDatasetBatchSamplers`, or a dict of weights.
        names: Names of the data sets.
        sizes: Rows of each; None if one of them is a stream.
        temperature: The t of ``size ** (1 / t)``.

    Returns:
        A number per data set; None where turns do not follow from weights.

    Raises:
        InputError: Weights that are missing or too many, or a mixture that needs sizes.
    """
    if isinstance(kind, Mapping):
        if set(kind) != set(names):
            raise InputError(
                "multi_dataset_batch_sampler must give a weight to each data set and to no other: "
                f"found {', '.join(map(repr, kind))}; the data sets are "
                f"{', '.join(map(repr, names))}."
            )
        return [float(kind[name]) for name in names]
    if kind == MultiDatasetBatchSamplers.ROUND_ROBIN:
        return [1.0] * len(names)
    if sizes is None:
        name = f"'{kind.value}'" if isinstance(kind, MultiDatasetBatchSamplers) else str(kind)
        example = ", ".join(f"{name!r}: 1.0" for name in names)
        raise InputError(
            f"multi_dataset_batch_sampler={name} needs to know how many rows each data set has, "
            "and one of them is a stream. Use multi_dataset_batch_sampler='round_robin', or give "
            f"weights: multi_dataset_batch_sampler={{{example}}}."
        )
    if kind == MultiDatasetBatchSamplers.TEMPERATURE:
        return [size ** (1.0 / temperature) for size in sizes]
    return None


def build_multi_sampler(
    mixture: Mixture, samplers: Sequence[BatchSampler], kind: Any, temperature: float, seed: int
) -> BatchSampler:
    """The sampler for several data sets that all have a length.

    Args:
        mixture: The data sets.
        samplers: A batch sampler for each.
        kind: A `MultiDatasetBatchSamplers`; a dict of weights, data set -> number; or a class or
            function that makes a sampler when called with
            ``(dataset, batch_samplers=, generator=, seed=)``.
        temperature: The t of ``size ** (1 / t)`` for ``"temperature"``.
        seed: Seed of the first epoch.

    Raises:
        InputError: Weights that do not fit the data sets.
    """
    if not isinstance(kind, MultiDatasetBatchSamplers | Mapping):
        generator = torch.Generator().manual_seed(seed)
        made = kind(mixture, batch_samplers=list(samplers), generator=generator, seed=seed)
        return Reseeded(made, generator, seed)
    if kind is MultiDatasetBatchSamplers.ROUND_ROBIN:
        return RoundRobin(mixture, samplers, None, seed)
    sizes = [len(dataset) for dataset in mixture.datasets]  # type: ignore[arg-type]
    weights = mixing_weights(kind, mixture.names, sizes, temperature)
    if weights is None:
        return Proportional(mixture, samplers, None, seed)
    return Shares(mixture, samplers, weights, seed)
