"""Parquet and Arrow files, and the folders that ``datasets`` saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from rankwright.data.table import Table
from rankwright.errors import EmptyDataError, FormatError, MissingDependencyError

__all__ = ["arrow_table", "dataset_table", "datasets_module", "parquet_table", "saved_tables"]

BATCH_ROWS = 1024
IPC_FILE_MAGIC = b"ARROW1"


def parquet_table(path: Path) -> Table:
    """A Parquet file as a table.

    Raises:
        EmptyDataError: No rows.
        FormatError: Truncated, damaged or not Parquet.
    """
    parquet = _pyarrow("parquet")
    columns, batches = _guarded(path, "Parquet", lambda: _open_parquet(parquet, path))
    return _first_row_checked(path, columns, _rows(path, "Parquet", batches))


def _open_parquet(parquet: Any, path: Path) -> tuple[list[str], Iterator[Any]]:
    file = parquet.ParquetFile(path)
    return list(file.schema_arrow.names), file.iter_batches(batch_size=BATCH_ROWS)


def arrow_table(path: Path) -> Table:
    """An Arrow IPC file or stream as a table.

    Raises:
        EmptyDataError: No rows.
        FormatError: Truncated, damaged or not Arrow.
    """
    ipc = _pyarrow("ipc")
    columns, batches = _guarded(path, "Arrow", lambda: _open_arrow(ipc, path))
    return _first_row_checked(path, columns, _rows(path, "Arrow", batches))


def _open_arrow(ipc: Any, path: Path) -> tuple[list[str], Iterator[Any]]:
    with open(path, "rb") as file:
        is_file = file.read(len(IPC_FILE_MAGIC)) == IPC_FILE_MAGIC
    if not is_file:
        stream = ipc.open_stream(str(path))
        return list(stream.schema.names), iter(stream)
    reader = ipc.open_file(str(path))
    return list(reader.schema.names), (
        reader.get_batch(index) for index in range(reader.num_record_batches)
    )


def _rows(path: Path, kind: str, batches: Iterator[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while (batch := _guarded(path, kind, lambda: next(batches, None))) is not None:
        for begin in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(begin, BATCH_ROWS)
            for row in _guarded(path, kind, part.to_pylist):
                number += 1
                yield number, row


def _guarded(path: Path, kind: str, action: Callable[[], Any]) -> Any:
    arrow = _pyarrow()
    try:
        return action()
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FormatError(
            f"the {kind} file cannot be read; it is truncated, damaged or of another format "
            f"({str(error).splitlines()[0]}). Copy or write it again.",
            path=path,
        ) from error


def _pyarrow(part: str = "") -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "pyarrow", "train", "Reading Parquet and Arrow files"
        ) from error
    return getattr(pyarrow, part) if part else pyarrow


def _first_row_checked(
    path: str | Path, columns: list[str], rows: Iterator[tuple[int, Mapping[str, Any]]]
) -> Table:
    first = next(rows, None)
    if first is None:
        raise EmptyDataError("there are no rows.", path=path)
    return Table(str(path), tuple(columns), chain([first], rows))


def datasets_module(purpose: str) -> Any:
    """The package ``datasets``.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError.for_package("datasets", "train", purpose) from error
    return datasets


def dataset_table(dataset: Any, name: str) -> Table:
    """A ``datasets.Dataset`` or ``IterableDataset`` as a table.

    Raises:
        EmptyDataError: No rows.
    """
    return _first_row_checked(name, list(dataset.column_names or []), _dataset_rows(dataset))


def _dataset_rows(dataset: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for batch in dataset.iter(batch_size=BATCH_ROWS):
        columns = list(batch)
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield number, dict(zip(columns, values, strict=True))


def saved_tables(folder: Path) -> dict[str, Table]:
    """The tables of a folder written by ``save_to_disk``: split name -> table.

    A single data set counts as the split ``"train"``.

    Raises:
        FormatError: The folder is incomplete or damaged.
    """
    datasets = datasets_module("Reading a saved data set folder")
    saved = _guarded(folder, "saved data set's Arrow", lambda: datasets.load_from_disk(str(folder)))
    splits = saved if isinstance(saved, dict) else {"train": saved}
    return {name: dataset_table(part, f"{folder} ({name})") for name, part in splits.items()}
