"""Keeps measured figures in Markdown pages: text between two comments that name it.

``<!-- losses-table:begin -->`` and ``<!-- losses-table:end -->`` are the markers of "losses-table".
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def put_between_markers(path: Path, name: str, text: str, *, check: bool = False) -> None:
    """Writes a text into a page, in place of what is between its markers.

    Args:
        path: The page, a Markdown file.
        name: What the markers are called, such as "losses-table".
        text: What to put there, without a line break at either end.
        check: Change nothing, and fail if the page says something else.

    Raises:
        SystemExit: The page lacks a marker, or says something else and ``check`` is set.
    """
    page = path.read_text(encoding="utf-8")
    write(path, with_text(page, name, text, where=path.name), check=check)


def with_text(page: str, name: str, text: str, *, where: str = "the page") -> str:
    """The page's text with another text between the markers of a name.

    Raises:
        SystemExit: A marker is missing; the message calls the page ``where``.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{where} lacks {begin} or, after it, {end}.")
    return f"{before}{begin}\n{text}\n{end}{after}"


def write(path: Path, text: str, *, check: bool = False) -> None:
    """Writes a file made from results.

    Raises:
        SystemExit: With ``check``, which writes nothing: the file is missing or says otherwise.
    """
    if not check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{path.name} does not say what the results say. Run without --check.")


@dataclass(frozen=True)
class Given:
    """What such a script was called with."""

    results: dict[str, Any]
    check: bool


def given(description: str | None, results: Path) -> Given:
    """Reads the command line of a script that renders results: ``[RESULTS] [--check]``.

    Args:
        description: The script's docstring; its first line is the help text.
        results: The results file that is read if the command line names none.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=results)
    parser.add_argument("--check", action="store_true", help="change nothing")
    said = parser.parse_args()
    return Given(json.loads(said.results.read_text(encoding="utf-8")), said.check)
