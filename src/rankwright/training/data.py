"""What the trainer accepts as data, and the dataloaders made from it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import IterableDataset as TorchIterableDataset

from rankwright.errors import EmptyDataError, InputError, InputTypeError
from rankwright.losses.base import Loss
from rankwright.training.samplers import SamplerOptions, build_batch_sampler

__all__ = ["Endless", "as_dataset", "check_dataset", "is_streaming", "make_loader", "quiet_fork"]


def as_dataset(data: Any, name: str) -> Any:
    """A `datasets.Dataset` or `IterableDataset` from what the user passed.

    Args:
        data: Either of them, a list of dicts, or None.
        name: Name of the argument, for messages.

    Raises:
        InputTypeError: Anything else.
        InputError: Several datasets.
        EmptyDataError: No rows.
    """
    import datasets

    if data is None or isinstance(data, datasets.IterableDataset):
        return data
    if isinstance(data, Mapping):
        raise InputError(
            f"{name} holds several datasets ({', '.join(map(repr, data))}); training takes one. "
            f"Pass one of them, such as {name}=data[{next(iter(data), 'train')!r}], or join them "
            "with datasets.concatenate_datasets."
        )
    if isinstance(data, list | tuple):
        if not all(isinstance(row, Mapping) for row in data):
            raise InputTypeError(
                f"{name} is a list whose items are not dicts; write each row as "
                "{'query': ..., 'document': ..., 'label': ...}."
            )
        data = datasets.Dataset.from_list([dict(row) for row in data])
    if not isinstance(data, datasets.Dataset):
        raise InputTypeError(
            f"{name} must be a datasets.Dataset, a datasets.IterableDataset or a list of dicts, "
            f"found {type(data).__name__}."
        )
    if len(data) == 0:
        raise EmptyDataError(f"{name} has no rows.")
    return data


def is_streaming(dataset: Any) -> bool:
    """Whether the dataset has no length and no random access."""
    return isinstance(dataset, TorchIterableDataset)


def check_dataset(dataset: Any, loss: Loss) -> None:
    """Raises what the collator would raise on the first rows.

    A stream is not looked at: its source may be one that can be read only once.
    """
    if dataset is not None and not is_streaming(dataset):
        loss.check(dataset[:8])


class Endless(TorchIterableDataset[Any]):
    """A stream that starts over, reshuffled, whenever it ends.

    To the trainer, streaming is then one long epoch, so that "skip the first n batches" finds
    the same place again when training is resumed, whichever pass over the data that was in.

    Args:
        stream: A `datasets.IterableDataset`.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        in_worker = get_worker_info() is not None
        # Workers would otherwise share one epoch counter in memory, and not reach the end of
        # their shards at the same time.
        stream = copy.deepcopy(self.stream) if in_worker else self.stream
        for epoch in itertools.count():
            stream.set_epoch(epoch)
            row = None
            for row in stream:
                yield row
            if row is None and in_worker:
                return  # there are more workers than shards; this one has nothing to give
            if row is None:
                raise EmptyDataError("the training stream has no rows.")


def make_loader(dataset: Any, args: Any, collator: Any, *, training: bool) -> DataLoader[Any]:
    """A dataloader for one dataset.

    Args:
        dataset: From `as_dataset`.
        args: `CrossEncoderTrainingArguments`.
        collator: A `PackingCollator`, or the user's.
        training: Whether to shuffle, or to go through the rows once in order.
    """
    workers = args.dataloader_num_workers
    common: dict[str, Any] = {
        "collate_fn": collator,
        "num_workers": workers,
        "pin_memory": args.dataloader_pin_memory and args.device.type == "cuda",
        "persistent_workers": args.dataloader_persistent_workers and workers > 0,
        "prefetch_factor": args.dataloader_prefetch_factor if workers > 0 else None,
        "multiprocessing_context": getattr(args, "dataloader_multiprocessing_context", None),
    }
    size = args.train_batch_size if training else args.eval_batch_size
    if is_streaming(dataset):
        stream = Endless(dataset) if training else dataset
        return DataLoader(stream, batch_size=size, drop_last=False, **common)
    options = SamplerOptions(
        batch_size=size,
        drop_last=args.dataloader_drop_last and training,
        seed=args.seed if args.data_seed is None else args.data_seed,
    )
    kind = args.batch_sampler if training else "batch_sampler"
    strategy = args.train_sampling_strategy if training else "sequential"
    sampler = build_batch_sampler(dataset, kind, strategy, options)
    return DataLoader(dataset, batch_sampler=sampler, **common)


@contextlib.contextmanager
def quiet_fork(workers: int) -> Iterator[None]:
    """While dataloader workers do the tokenising, the tokenizers library uses no threads.

    Its threads do not survive a fork, and it says so on stderr at every fork unless told.
    """
    name = "TOKENIZERS_PARALLELISM"
    if workers == 0 or name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]
