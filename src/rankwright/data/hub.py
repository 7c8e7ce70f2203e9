"""Data sets of the Hugging Face hub, and local folders in a hub repository's layout."""

from __future__ import annotations

from typing import Any

from rankwright.data.arrow import dataset_table, datasets_module
from rankwright.data.options import LoadOptions
from rankwright.data.table import Table
from rankwright.errors import DataNotFoundError, InputError

__all__ = ["hub_tables"]


def hub_tables(name: str, options: LoadOptions) -> dict[str, Table]:
    """Reads a data set with ``datasets.load_dataset``: split name -> table.

    With ``options.split``, only that split is read and counts as ``"train"``. No code of the data
    set is ever run: ``datasets`` 4 and later read data files only.

    Args:
        name: ``"owner/name"``, or a local folder of data files.
        options: Its subset, split, revision and token.

    Raises:
        DataNotFoundError: There is no such data set, or the hub cannot be reached.
        InputError: There is no such subset or split, or one must be named.
        MissingDependencyError: ``datasets`` is not installed.
    """
    datasets = datasets_module("Reading a data set of the hub")
    loaded = _load(datasets, name, options)
    splits: dict[str, Any] = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {split: dataset_table(part, f"{name} ({split})") for split, part in splits.items()}


def _load(datasets: Any, name: str, options: LoadOptions) -> Any:
    try:
        return datasets.load_dataset(
            name,
            options.subset,
            split=options.split,
            revision=options.revision,
            token=options.token,
        )
    except ValueError as error:  # unknown or missing subset, unknown split
        raise InputError(
            f"The data set {name} could not be read as asked (subset {options.subset!r}, split "
            f"{options.split!r}): {_brief(error)} Name another with --subset or --split."
        ) from error
    except (OSError, RuntimeError) as error:
        # not found, private or offline; the hub client's errors are of these two families
        raise DataNotFoundError(
            f"{name} is neither a file or folder here nor a data set that could be read from the "
            f"hub: {_brief(error)} Check the spelling and the network; a private data set needs a "
            "token."
        ) from error


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= 300 else text[:300] + "…"
    return text if text.endswith((".", "…")) else text + "."
