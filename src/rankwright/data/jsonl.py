"""JSON Lines and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from rankwright.data.files import excerpt, read_lines, write_lines
from rankwright.data.table import Table
from rankwright.errors import EmptyDataError, FormatError, InputError, InputTypeError

__all__ = ["json_table", "jsonl_table", "read_jsonl", "write_jsonl"]


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON Lines file with their line numbers, from 1. Blank lines are skipped.

    Raises:
        DataNotFoundError: No such file.
        FormatError: A line that is not a JSON object, is not UTF-8, or a damaged gzip file.
    """
    path = Path(path)
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            at = f" at character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise FormatError(
                f"not valid JSON ({reason}{at}): {excerpt(line)}. Each line must be one JSON "
                "object.",
                path=path,
                line=number,
            ) from error
        if not isinstance(value, dict):
            raise FormatError(
                f'expected a JSON object such as {{"query": …}}, found {excerpt(line)}.',
                path=path,
                line=number,
            )
        yield number, value


def write_jsonl(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Writes one JSON object per line, atomically; gzipped if the name ends in ``.gz``.

    Raises:
        InputTypeError: A row that JSON cannot hold.
        SaveError: The file could not be written; what was there is untouched.
    """
    write_lines((_dumped(row, number) for number, row in enumerate(rows, start=1)), path)


def _dumped(row: Mapping[str, Any], number: int) -> str:
    try:
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
        line.encode("utf-8")
    except TypeError as error:
        raise InputTypeError(f"row {number} cannot be written as JSON: {error}.") from error
    except ValueError as error:  # NaN, infinity, a cycle, half of a surrogate pair
        raise InputError(f"row {number} cannot be written as JSON: {error}.") from error
    return line


def jsonl_table(path: Path) -> Table:
    """A JSON Lines file as a table; its columns are the fields of the first row.

    Raises:
        EmptyDataError: No rows.
        FormatError: A line that cannot be read.
    """
    rows = read_jsonl(path)
    first = next(rows, None)
    if first is None:
        raise EmptyDataError("the file has no rows.", path=path)
    return Table(str(path), tuple(first[1]), chain([first], rows), "line")


def json_table(path: Path) -> Table:
    """A JSON file as a table: a list of objects, or an object with that list under ``"data"``.

    Raises:
        EmptyDataError: No rows.
        FormatError: Not JSON, or of another shape.
    """
    text = "\n".join(line for _, line in read_lines(path))
    if not text.strip():
        raise EmptyDataError("the file is empty.", path=path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        hint = (
            " This looks like JSON Lines: name the file .jsonl."
            if error.msg == "Extra data"
            else ""
        )
        raise FormatError(
            f"not valid JSON ({error.msg} at character {error.colno}): "
            f"{excerpt(line[max(0, error.colno - 30) :])}.{hint}",
            path=path,
            line=error.lineno,
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not valid JSON ({error}).", path=path) from error
    if isinstance(value, dict):
        value = value.get("data")
    if not isinstance(value, list):
        raise FormatError(
            'expected a list of objects, or an object with that list under "data".', path=path
        )
    if not value:
        raise EmptyDataError("the list has no rows.", path=path)
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise FormatError(f"row {number}: expected an object, found {excerpt(row)}.", path=path)
    return Table(str(path), tuple(value[0]), iter(enumerate(value, start=1)))
