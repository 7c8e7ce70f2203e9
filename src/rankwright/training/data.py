"""What the trainer accepts as data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset as TorchIterableDataset

from rankwright.errors import EmptyDataError, InputError, InputTypeError

__all__ = ["as_dataset", "as_datasets", "is_streaming", "named", "one_of", "quiet_fork"]

_SPLITS = frozenset({"train", "training"})
_HELD_OUT = frozenset({"test", "dev", "validation", "valid", "eval"})


def as_dataset(data: Any, name: str) -> Any:
    """A `datasets.Dataset` or `IterableDataset` from what the user passed.

    Args:
        data: Either of them, a list of dicts, or None.
        name: Name of the argument, for messages.

    Raises:
        InputTypeError: Anything else.
        EmptyDataError: No rows.
    """
    import datasets

    if data is None or isinstance(data, datasets.IterableDataset):
        return data
    if isinstance(data, list | tuple):
        if not all(isinstance(row, Mapping) for row in data):
            raise InputTypeError(
                f"{name} is a list whose items are not dicts; write each row as "
                "{'query': ..., 'document': ..., 'label': ...}. (A dict of lists would be taken "
                "for several data sets; for columns use datasets.Dataset.from_dict.)"
            )
        data = datasets.Dataset.from_list([dict(row) for row in data])
    if not isinstance(data, datasets.Dataset):
        raise InputTypeError(
            f"{name} must be a datasets.Dataset, a datasets.IterableDataset or a list of dicts, or "
            f"a dict of such data sets; found {type(data).__name__}."
        )
    if len(data) == 0:
        raise EmptyDataError(f"{name} has no rows.")
    return data


def as_datasets(data: Any, name: str) -> Any:
    """One data set, as from `as_dataset`, or a dict of them by name.

    Args:
        data: What `as_dataset` takes; or a dict of that, such as a `datasets.DatasetDict` or
            `datasets.IterableDatasetDict`.
        name: Name of the argument, for messages.

    Raises:
        InputTypeError: Anything else.
        InputError: An empty dict, names that are not texts, or, for training, the splits of one
            data set.
        EmptyDataError: A data set without rows.
    """
    if not isinstance(data, Mapping):
        return as_dataset(data, name)
    if not data or not all(isinstance(key, str) and key for key in data):
        raise InputError(
            f"{name} is a dict whose keys must be the names of data sets; found {list(data)!r}."
        )
    if name == "train_dataset" and _SPLITS & set(data) and _HELD_OUT & set(data):
        split = next(iter(_SPLITS & set(data)))
        raise InputError(
            f"train_dataset holds {', '.join(map(repr, data))}, which are splits of one data set, "
            f"not several data sets. Pass train_dataset=data[{split!r}]; to train on all of them, "
            "join them with datasets.concatenate_datasets or give them other names."
        )
    found = {key: as_dataset(value, f"{name}[{key!r}]") for key, value in data.items()}
    missing = [key for key, value in found.items() if value is None]
    if missing:
        raise InputTypeError(f"{name}[{missing[0]!r}] is None; leave it out of the dict.")
    return found


def named(data: Any) -> dict[str | None, Any]:
    """Data sets by name; one that is not in a dict has the name None."""
    if data is None:
        return {}
    return dict(data) if isinstance(data, Mapping) else {None: data}


def one_of(data: Any, name: str) -> dict[str, Any]:
    """One of the trainer's data sets, still by its name.

    Raises:
        InputError: There is none of that name.
    """
    if not isinstance(data, Mapping) or name not in data:
        known = ", ".join(map(repr, data)) if isinstance(data, Mapping) else "none with a name"
        raise InputError(f"there is no data set called {name!r} in eval_dataset; it has {known}.")
    return {name: data[name]}


def is_streaming(dataset: Any) -> bool:
    """Whether the dataset has no length and no random access."""
    return isinstance(dataset, TorchIterableDataset)


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
