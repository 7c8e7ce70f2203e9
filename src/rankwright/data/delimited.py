"""CSV and TSV, as RFC 4180 describes them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from rankwright.data.files import excerpt, read_lines
from rankwright.data.table import Table
from rankwright.errors import ColumnError, EmptyDataError, FormatError

__all__ = ["csv_table", "tsv_table"]

# Python's own limit of 131,072 characters is shorter than a long document. C's long bounds it.
FIELD_LIMIT = 2**31 - 1


def csv_table(path: Path) -> Table:
    """A comma-separated file with a header line as a table of texts.

    Raises:
        ColumnError: A header that names a column twice, or none that looks like a header.
        EmptyDataError: No rows.
        FormatError: A row with another number of fields, or bad quotes.
    """
    return _table(path, ",")


def tsv_table(path: Path) -> Table:
    """A tab-separated file with a header line as a table of texts; quoted as in CSV.

    Raises:
        ColumnError: A header that names a column twice, or none that looks like a header.
        EmptyDataError: No rows.
        FormatError: A row with another number of fields, or bad quotes.
    """
    return _table(path, "\t")


def _table(path: Path, delimiter: str) -> Table:
    records = _records(path, delimiter)
    first = next(records, None)
    if first is None:
        raise EmptyDataError("the file is empty.", path=path)
    line, header = first
    names = [name.strip() for name in header]
    _check_header(names, path, line, delimiter)
    body = _body(records, names, path)
    start = next(body, None)
    if start is None:
        raise EmptyDataError("the file has a header line but no rows.", path=path)
    return Table(str(path), tuple(names), _chained(start, body), "line")


def _chained(
    first: tuple[int, dict[str, str]], rest: Iterator[tuple[int, dict[str, str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    yield first
    yield from rest


def _check_header(names: list[str], path: Path, line: int, delimiter: str) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ColumnError(
            f"the header names {', '.join(map(repr, twice))} more than once.", path=path, line=line
        )
    if any(
        len(name) > 60 or len(name.split()) > 4 or re.fullmatch(r"-?[\d.]+", name) for name in names
    ):
        raise ColumnError(
            f"the first line does not look like a header: {excerpt(delimiter.join(names))}. "
            "Add a header line such as "
            f"'query{delimiter if delimiter == ',' else '<tab>'}document'.",
            path=path,
            line=line,
        )


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records with the number of the line each begins on; blank lines are skipped."""
    if csv.field_size_limit() < FIELD_LIMIT:
        csv.field_size_limit(FIELD_LIMIT)
    lines = (f"{text}\n" for _, text in read_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begin = 1
    try:
        for record in reader:
            if record:
                yield begin, record
            begin = reader.line_num + 1
    except csv.Error as error:
        raise FormatError(
            f"bad quoting in the record that begins here ({error}). A field that holds a quote, a "
            "line break or the separator is put in double quotes, and a quote in it is doubled.",
            path=path,
            line=begin,
        ) from error


def _body(
    records: Iterator[tuple[int, list[str]]], names: list[str], path: Path
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, record in records:
        if len(record) != len(names):
            raise FormatError(
                f"{len(record)} fields, but the header has {len(names)} ({', '.join(names)}): "
                f"{excerpt(' | '.join(record))}. A text that holds the separator must be quoted.",
                path=path,
                line=line,
            )
        yield line, dict(zip(names, record, strict=True))
