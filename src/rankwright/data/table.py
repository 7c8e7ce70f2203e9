"""Rows of any file format, and the place each of them came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rankwright.data.files import excerpt
from rankwright.errors import DataError, EmptyDataError, FormatError

__all__ = ["Place", "Table", "checked_text"]


@dataclass(frozen=True)
class Place:
    """Where a row stands, for messages.

    Attributes:
        path: File, database or data set.
        number: Line or row, from 1.
        unit: ``"line"`` for text files, ``"row"`` for everything else.
    """

    path: str
    number: int
    unit: str = "line"

    def error(self, kind: type[DataError], message: str, column: str | None = None) -> DataError:
        """An error of the given kind that names this place."""
        if self.unit == "line":
            return kind(message, path=self.path, line=self.number, column=column)
        return kind(f"{self.unit} {self.number}: {message}", path=self.path, column=column)

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.number}"


@dataclass(frozen=True)
class Table:
    """Rows that can be read once.

    Attributes:
        path: File, database or data set, for messages.
        columns: Names, in order.
        rows: Line or row number and column -> value.
        unit: ``"line"`` or ``"row"``: what the numbers count.
    """

    path: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    unit: str = "row"

    def place(self, number: int) -> Place:
        """The place of the row with this number."""
        return Place(self.path, number, self.unit)


def checked_text(value: Any, column: str, place: Place) -> str:
    """Returns ``value`` if it is a text that can be used.

    Raises:
        EmptyDataError: It is missing, empty or only white space.
        FormatError: It is no text, or holds half of a surrogate pair.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise place.error(
            EmptyDataError,
            "the text is empty. Fill it in, remove the row, or leave out all such rows with "
            "--drop-empty (in Python: LoadOptions(drop_empty=True)).",
            column,
        )
    if not isinstance(value, str):
        raise place.error(
            FormatError,
            f"expected a text, found {excerpt(value)} of type {type(value).__name__}.",
            column,
        )
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise place.error(
                FormatError,
                f"{excerpt(value)} holds half of a surrogate pair (such as \\ud83d) and is not "
                "valid Unicode. Repair the program that wrote it, or remove the character.",
                column,
            ) from error
    return value
