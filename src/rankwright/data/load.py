"""One function that reads every source the library knows."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rankwright.data.arrow import arrow_table, parquet_table, saved_tables
from rankwright.data.beir import is_beir, read_beir
from rankwright.data.delimited import csv_table, tsv_table
from rankwright.data.files import close_names, similar_names
from rankwright.data.hub import hub_tables
from rankwright.data.jsonl import json_table, jsonl_table
from rankwright.data.options import LoadOptions
from rankwright.data.rows import collect_tables
from rankwright.data.split import SPLITS, canonical_split, fill_splits, limit_queries
from rankwright.data.sql import sql_table
from rankwright.data.table import Table
from rankwright.data.types import RankingData
from rankwright.errors import DataNotFoundError, FormatError, InputError, InputTypeError

__all__ = ["FILE_FORMATS", "READERS", "Reader", "load_data"]

logger = logging.getLogger(__name__)

FILE_FORMATS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": jsonl_table,
    ".ndjson": jsonl_table,
    ".json": json_table,
    ".csv": csv_table,
    ".tsv": tsv_table,
    ".parquet": parquet_table,
    ".arrow": arrow_table,
}
"""Ending of a file name -> reader. Text formats may also be gzipped (``.jsonl.gz``)."""

COMPRESSIBLE = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SAVED_FILES = ("dataset_dict.json", "state.json")
DATABASE_URL = re.compile(r"[A-Za-z][\w.+-]*://")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class Source:
    """What the user named: a text, and the path it would be."""

    text: str
    path: Path
    may_be_name: bool


@dataclass(frozen=True)
class Reader:
    """One kind of source.

    Attributes:
        accepts: What it reads, for messages.
        recognises: Whether a source is of this kind.
        read: Reads it as it is, without carving splits.
    """

    accepts: str
    recognises: Callable[[Source], bool]
    read: Callable[[Source, LoadOptions], RankingData]


def load_data(source: str | Path, options: LoadOptions | None = None) -> RankingData:
    """Reads queries, documents and judgements, and carves the splits that are missing.

    Sources: a folder in BEIR's layout; a JSON, JSON Lines, CSV, TSV, Parquet or Arrow file; a
    folder with such files named train, dev (or validation) and test; a folder written by
    ``datasets``' ``save_to_disk``; a database URL with ``options.sql``; the name of a data set on
    the Hugging Face hub. For the columns of a file, see
    :func:`rankwright.data.columns.column_roles`.

    Args:
        source: Path, URL or hub name. What exists on disk is never looked up on the hub.
        options: Columns, splits and the like; ``LoadOptions()`` if None.

    Raises:
        DataNotFoundError: Nothing is there.
        DataError: The data does not hold; the message names file and line or row, and what to do.
        InputError: The source or an option cannot be used.
        MissingDependencyError: A package that this kind of source needs is not installed.
    """
    options = options or LoadOptions()
    if not isinstance(source, (str, Path)):
        raise InputTypeError(
            f"source must be a path, a URL or a hub name, not a {type(source).__name__}."
        )
    if not str(source).strip():
        raise InputError("The source is empty; name a file, a folder, a database or a data set.")
    found = Source(str(source), Path(source).expanduser(), isinstance(source, str))
    reader = next((reader for reader in READERS if reader.recognises(found)), None)
    if reader is None:
        raise _unknown(found)
    if options.sql is not None and reader is not DATABASE:
        raise InputError(
            f"A query was given (--sql), but {source} is not a database URL. A database file is "
            f"named like sqlite:///{source}."
        )
    data = limit_queries(fill_splits(reader.read(found, options), options), options)
    logger.info(
        "%s: %d documents; queries: %s",
        source,
        len(data.corpus),
        ", ".join(f"{split} {len(judged)}" for split, judged in data.qrels.items()),
    )
    return data


def _format_of(path: Path) -> Callable[[Path], Table] | None:
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if endings[-1:] == [".gz"]:
        return FILE_FORMATS[endings[0]] if endings[0] in COMPRESSIBLE else None
    return FILE_FORMATS.get(endings[-1]) if endings else None


def _read_file(source: Source, options: LoadOptions) -> RankingData:
    read = _format_of(source.path)
    if read is None:
        raise FormatError(
            f"files of this kind are not read; expected one of {', '.join(FILE_FORMATS)} "
            "(text formats also with .gz).",
            path=source.path,
        )
    return collect_tables({"train": read(source.path)}, options, source.text)


def _split_files(folder: Path) -> dict[str, Path]:
    """Split name -> file; empty if a folder has no file that is named after a split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = canonical_split(path.name.partition(".")[0])
        if split not in SPLITS or _format_of(path) is None or not path.is_file():
            continue
        if split in found:
            raise FormatError(
                f"{found[split].name} and {path.name} are both the {split} split. Keep one.",
                path=folder,
            )
        found[split] = path
    return found


def _read_split_files(source: Source, options: LoadOptions) -> RankingData:
    tables = {
        split: (_format_of(path) or jsonl_table)(path)
        for split, path in _split_files(source.path).items()
    }
    return collect_tables(tables, options, source.text)


def _read_saved(source: Source, options: LoadOptions) -> RankingData:
    return _read_named_splits(saved_tables(source.path), source, options)


def _read_hub(source: Source, options: LoadOptions) -> RankingData:
    name = str(source.path) if source.path.is_dir() else source.text
    try:
        tables = hub_tables(name, options)
    except DataNotFoundError as error:
        if not similar_names(source.path):
            raise
        raise DataNotFoundError(f"{error}{close_names(source.path)}") from error
    return _read_named_splits(tables, source, options)


def _read_named_splits(
    tables: dict[str, Table], source: Source, options: LoadOptions
) -> RankingData:
    named: dict[str, Table] = {}
    for name, table in tables.items():
        split = canonical_split(name)
        if split in named:
            raise FormatError(f"two splits are both the {split} split.", path=source.text)
        named[split] = table
    return collect_tables(named, options, source.text)


def _read_database(source: Source, options: LoadOptions) -> RankingData:
    table = sql_table(source.text, options.sql)
    return collect_tables({"train": table}, options, table.path)


def _holds_data_files(source: Source) -> bool:
    return source.path.is_dir() and any(
        _format_of(path) is not None for path in source.path.rglob("*")
    )


def _is_hub_name(source: Source) -> bool:
    """Whether a text can be a hub name: nothing of that name is on disk, no file's ending."""
    return (
        source.may_be_name
        and not source.path.exists()
        and HUB_NAME.fullmatch(source.text) is not None
        and _format_of(source.path) is None
    )


def _unknown(source: Source) -> Exception:
    if source.path.is_dir():
        held = ", ".join(sorted(path.name for path in source.path.iterdir())[:10]) or "nothing"
        kinds = "; ".join(reader.accepts for reader in READERS if reader.accepts.startswith("a f"))
        return FormatError(
            f"the folder holds {held}, none of which is known. Expected one of: {kinds}.",
            path=source.path,
        )
    return DataNotFoundError(f"{source.text} does not exist.{close_names(source.path)}")


DATABASE = Reader(
    "a database URL with a query (--sql)",
    lambda source: source.may_be_name and DATABASE_URL.match(source.text) is not None,
    _read_database,
)

READERS = (
    DATABASE,
    Reader(
        "a file (" + ", ".join(FILE_FORMATS) + ")",
        lambda source: source.path.is_file(),
        _read_file,
    ),
    Reader(
        "a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/)",
        lambda source: source.path.is_dir() and is_beir(source.path),
        lambda source, options: read_beir(source.path, options),
    ),
    Reader(
        "a folder written by datasets' save_to_disk",
        lambda source: any((source.path / name).is_file() for name in SAVED_FILES),
        _read_saved,
    ),
    Reader(
        "a folder with the files train, dev and test in one of the file formats",
        lambda source: source.path.is_dir() and bool(_split_files(source.path)),
        _read_split_files,
    ),
    Reader(
        "a folder of data files in a hub repository's layout",
        _holds_data_files,
        _read_hub,
    ),
    Reader("the name of a data set on the hub", _is_hub_name, _read_hub),
)
"""The kinds of sources, in the order in which they are tried."""
