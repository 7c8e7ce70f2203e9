"""The dataloaders: samplers for data sets with a length, batches from streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader

from rankwright.errors import InputError
from rankwright.training.data import is_streaming, named
from rankwright.training.samplers import (
    SEED_STEP,
    BatchSamplers,
    SamplerOptions,
    build_batch_sampler,
    build_multi_sampler,
    check_strategy,
    mixing_weights,
)
from rankwright.training.sampling.base import InOrderSampler
from rankwright.training.sampling.mixing import Consecutive, Mixture
from rankwright.training.sampling.queries import QueryGroupedSampler
from rankwright.training.sampling.texts import is_flat
from rankwright.training.streams import BatchStream, Endless, FromSampler, FromStream

__all__ = [
    "OnlyElement",
    "check_sampling",
    "groups_queries",
    "keep_epochs",
    "make_loader",
    "sampler_kind",
]


def sampler_kind(args: Any, name: str | None) -> Any:
    """The ``batch_sampler`` of a data set.

    Raises:
        InputError: The training arguments give one to each data set, but none to this one.
    """
    kind = args.batch_sampler
    if not isinstance(kind, Mapping):
        return kind
    if name not in kind:
        what = "the data set" if name is None else f"the data set {name!r}"
        raise InputError(
            f"batch_sampler is a dict, with {', '.join(map(repr, kind))}, but {what} is not in it. "
            "Give each data set its batch sampler, or pass one for all."
        )
    return kind[name]


def check_sampling(train: Any, args: Any) -> None:
    """Raises what `make_loader` would raise for training, as far as no row need be read.

    Args:
        train: From `as_datasets`.
        args: `CrossEncoderTrainingArguments`.

    Raises:
        InputError: Settings that do not fit the data.
    """
    parts = named(train)
    streams = [name for name, dataset in parts.items() if is_streaming(dataset)]
    if isinstance(args.batch_sampler, Mapping) and set(args.batch_sampler) - set(parts):
        extra = sorted(set(args.batch_sampler) - set(parts))
        raise InputError(
            f"batch_sampler names {', '.join(map(repr, extra))}, which is no data set of "
            f"train_dataset: {', '.join(map(repr, parts))}."
        )
    for name in parts:
        kind = sampler_kind(args, name)
        check_strategy(kind, args.train_sampling_strategy)
        if name in streams:
            _stream_kind(kind, args.train_sampling_strategy)
    if len(parts) > 1:
        sizes = None if streams else [len(dataset) for dataset in parts.values()]
        kind = args.multi_dataset_batch_sampler
        mixing_weights(kind, list(map(str, parts)), sizes, args.multi_dataset_temperature)
    if streams and args.max_steps <= 0:
        what = "train_dataset" if streams == [None] else f"train_dataset[{streams[0]!r}]"
        raise InputError(
            f"{what} is a stream, whose length nobody knows; set max_steps, the number of "
            "optimiser steps to train."
        )


def make_loader(data: Any, args: Any, collator: Any, *, training: bool) -> DataLoader[Any]:
    """A dataloader, whose every batch comes from one data set.

    Args:
        data: From `as_datasets`.
        args: `CrossEncoderTrainingArguments`.
        collator: A `PackingCollator`, a `CollatorByName`, or the user's.
        training: Whether to shuffle, or to go through the rows once in order.
    """
    workers = args.dataloader_num_workers
    common: dict[str, Any] = {
        "num_workers": workers,
        "pin_memory": args.dataloader_pin_memory and args.device.type == "cuda",
        "persistent_workers": args.dataloader_persistent_workers and workers > 0,
        "prefetch_factor": args.dataloader_prefetch_factor if workers > 0 else None,
        "multiprocessing_context": getattr(args, "dataloader_multiprocessing_context", None),
        "in_order": getattr(args, "dataloader_in_order", True),
    }
    parts = named(data)
    if any(is_streaming(dataset) for dataset in parts.values()):
        stream = _stream(parts, args, training)
        # An element of the stream is a batch.
        return DataLoader(stream, batch_size=1, collate_fn=OnlyElement(collator), **common)
    samplers = [
        _sampler(dataset, name, _options(args, i, training), args, training)
        for i, (name, dataset) in enumerate(parts.items())
    ]
    if None in parts:
        return DataLoader(parts[None], batch_sampler=samplers[0], collate_fn=collator, **common)
    mixture = Mixture({str(name): dataset for name, dataset in parts.items()})
    if training:
        kind, temperature = args.multi_dataset_batch_sampler, args.multi_dataset_temperature
        seed = _options(args, 0, training).seed
        sampler = build_multi_sampler(mixture, samplers, kind, temperature, seed)
    else:
        sampler = Consecutive(mixture, samplers)
    return DataLoader(mixture, batch_sampler=sampler, collate_fn=collator, **common)


@dataclass(frozen=True)
class OnlyElement:
    """Collates the one element of a list, which is a batch already.

    Attributes:
        collator: Makes tensors of rows.
    """

    collator: Callable[[Any], Any]

    def __call__(self, elements: Sequence[Any]) -> Any:
        """What the collator makes of the only element."""
        return self.collator(elements[0])


def keep_epochs(loader: Any) -> Any:
    """Lets `set_epoch` through to the sampler when accelerate has shared its batches out.

    Without that, a run with several processes that is resumed in the midst of a later epoch would
    take up the order of the first one.
    """
    shard = loader.batch_sampler
    if isinstance(shard, BatchSamplerShard) and hasattr(shard.batch_sampler, "set_epoch"):
        shard.set_epoch = shard.batch_sampler.set_epoch
    return loader


def _options(args: Any, number: int, training: bool) -> SamplerOptions:
    seed = args.seed if args.data_seed is None else args.data_seed
    return SamplerOptions(
        batch_size=args.train_batch_size if training else args.eval_batch_size,
        drop_last=args.dataloader_drop_last and training,
        seed=seed + SEED_STEP * number,
        max_documents=args.max_documents_per_query,
    )


def _sampler(
    dataset: Any, name: str | None, options: SamplerOptions, args: Any, training: bool
) -> BatchSampler:
    if training:
        kind = sampler_kind(args, name)
        return build_batch_sampler(dataset, kind, args.train_sampling_strategy, options)
    if groups_queries(args, name) and is_flat(dataset[:1]):
        return QueryGroupedSampler(dataset, options, shuffle=False)
    return InOrderSampler(len(dataset), options)


def groups_queries(args: Any, name: str | None) -> bool:
    """Whether flat rows of a data set are to be grouped by query, in evaluation too."""
    kind = args.batch_sampler
    if isinstance(kind, Mapping):
        kind = kind.get(name)
    return bool(kind == BatchSamplers.QUERY_GROUPED)


def _stream(parts: Mapping[str | None, Any], args: Any, training: bool) -> BatchStream:
    sources: dict[str | None, Any] = {}
    for i, (name, dataset) in enumerate(parts.items()):
        options = _options(args, i, training)
        if not is_streaming(dataset):
            sampler = _sampler(dataset, name, options, args, training)
            sources[name] = FromSampler(dataset, sampler, endless=training)
            continue
        if training:
            kind = _stream_kind(sampler_kind(args, name), args.train_sampling_strategy)
        else:
            kind = "query_grouped" if groups_queries(args, name) else "batch_sampler"
        rows = Endless(dataset) if training else dataset
        sources[name] = FromStream(rows, kind, options)
    weights = None
    if training and len(parts) > 1:
        kind, temperature = args.multi_dataset_batch_sampler, args.multi_dataset_temperature
        weights = mixing_weights(kind, list(map(str, parts)), None, temperature)
    return BatchStream(sources, weights, args.world_size)


def _stream_kind(kind: Any, strategy: str) -> str:
    """How the rows of a stream are put into batches, as `FromStream` calls it."""
    if not isinstance(kind, BatchSamplers) or kind is BatchSamplers.GROUP_BY_LABEL:
        name = repr(kind.value) if isinstance(kind, BatchSamplers) else str(kind)
        raise InputError(
            f"batch_sampler={name} chooses rows by their numbers, and a stream has none. Use "
            "another batch sampler, or load the data set without streaming."
        )
    if kind is BatchSamplers.LENGTH_GROUPED or strategy == "group_by_length":
        return BatchSamplers.LENGTH_GROUPED.value
    if kind is BatchSamplers.NO_DUPLICATES_HASHED:
        return BatchSamplers.NO_DUPLICATES.value
    return str(kind.value)
