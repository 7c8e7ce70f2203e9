"""Run and qrels files in TREC's formats.

A run line is ``query Q0 document rank score tag``, a qrels line ``query iteration document
grade``; columns are separated by tabs or spaces. Some collections have query ids that hold
spaces: these are read too, by counting columns from the right, and written with tabs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rankwright.data.files import excerpt, read_lines, write_lines
from rankwright.data.types import Qrels, Run
from rankwright.errors import DuplicateIdError, FormatError, InputError, LabelError

__all__ = [
    "QrelsLine",
    "RunLine",
    "check_id",
    "collect_qrels",
    "collect_run",
    "iter_qrels",
    "iter_run",
    "parse_grade",
    "ranked",
    "read_qrels",
    "read_run",
    "write_qrels",
    "write_run",
]

RUN_FORM = "'query Q0 document rank score tag'"
QRELS_FORM = "'query iteration document grade'"
UNUSABLE_IN_ID = re.compile(r"[\t\n\r]|^\ufeff|^$")
MARKS = ("Q0", "q0", "0")


class RunLine(NamedTuple):
    """One line of a run file."""

    line: int
    query: str
    document: str
    score: float


class QrelsLine(NamedTuple):
    """One line of a qrels file."""

    line: int
    query: str
    document: str
    grade: int


def read_run(path: str | Path) -> Run:
    """Reads a run file: query id -> document id -> score. Ranks in the file are not used.

    Raises:
        DataNotFoundError: No such file.
        FormatError: A line of another form, or a score that is no finite number.
        DuplicateIdError: A document twice in one query's list.
    """
    return collect_run(iter_run(path), path)


def collect_run(lines: Iterator[RunLine], path: str | Path) -> Run:
    """Gathers run lines.

    Raises:
        DuplicateIdError: A document twice in one query's list.
    """
    run: Run = {}
    for line, query, document, score in lines:
        documents = run.setdefault(query, {})
        if document in documents:
            raise DuplicateIdError(
                f"document '{document}' is listed twice for query '{query}'.", path=path, line=line
            )
        documents[document] = score
    return run


def read_qrels(path: str | Path) -> Qrels:
    """Reads a qrels file: query id -> document id -> grade.

    Raises:
        DataNotFoundError: No such file.
        FormatError: A line of another form.
        LabelError: A grade that is no whole number.
        DuplicateIdError: A document judged twice for one query, with two grades.
    """
    return collect_qrels(iter_qrels(path), path)


def collect_qrels(lines: Iterator[QrelsLine], path: str | Path) -> Qrels:
    """Gathers qrels lines; a judgement that is repeated word for word counts once.

    Raises:
        DuplicateIdError: A document judged twice for one query, with two grades.
    """
    qrels: Qrels = {}
    for line, query, document, grade in lines:
        before = qrels.setdefault(query, {}).setdefault(document, grade)
        if before != grade:
            raise DuplicateIdError(
                f"document '{document}' is judged twice for query '{query}', as {before} and as "
                f"{grade}. Keep one of the lines.",
                path=path,
                line=line,
            )
    return qrels


def iter_run(path: str | Path) -> Iterator[RunLine]:
    """Lines of a run file, checked one by one; for errors see :func:`read_run`."""
    for line, fields in _fields(Path(path), 6, RUN_FORM):
        query, _, document, rank, score, _ = fields
        value = _number(score)
        if value is None or not math.isfinite(value):
            raise FormatError(
                f"the score {excerpt(score)} is no finite number. Expected {RUN_FORM}.",
                path=path,
                line=line,
            )
        # with columns counted from the right, a stray word would shift them: the rank tells
        if " " in query and not rank.isdigit():
            raise FormatError(
                f"the rank {excerpt(rank)} is no whole number. Expected {RUN_FORM}.",
                path=path,
                line=line,
            )
        yield RunLine(line, query, document, value)


def iter_qrels(path: str | Path) -> Iterator[QrelsLine]:
    """Lines of a qrels file, checked one by one; for errors see :func:`read_qrels`."""
    for line, (query, _, document, grade) in _fields(Path(path), 4, QRELS_FORM):
        yield QrelsLine(line, query, document, parse_grade(grade, path, line))


def parse_grade(text: str, path: str | Path, line: int) -> int:
    """A grade of a qrels file: a whole number, ``1.0`` included.

    Raises:
        LabelError: Anything else.
    """
    value = _number(text)
    if value is None or not value.is_integer():
        raise LabelError(
            f"the grade {excerpt(text)} is no whole number. 0 means not relevant, 1 and above "
            "relevant.",
            path=path,
            line=line,
        )
    return int(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _fields(path: Path, count: int, form: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        fields = line.split("\t")
        if len(fields) != count:
            fields = re.split(r"[ \t]+", line.strip(" \t"))
            if len(fields) > count:
                # the query id is what stands left of the last columns
                fields = _split_from_right(line, count)
        if len(fields) != count or not all(fields):
            raise FormatError(
                f"expected {count} columns, {form}, found {excerpt(line)}.", path=path, line=number
            )
        yield number, fields


def _split_from_right(line: str, count: int) -> list[str]:
    """Columns of a line whose query id holds spaces; the mark after it tells where it ends."""
    for fields in (line.rsplit(" ", count - 1), re.split(r"[ \t]+", line)):
        head, tail = fields[: 2 - count], fields[2 - count :]
        if len(head) > 1 and head[-1] in MARKS and all(tail):
            return [" ".join(head[:-1]), head[-1], *tail]
    return []


def ranked(documents: Mapping[str, float]) -> list[tuple[str, float]]:
    """Documents with their scores, best first; equal scores in the order of their ids."""
    return sorted(documents.items(), key=lambda item: (-item[1], item[0]))


def write_run(run: Run, path: str | Path, tag: str = "rankwright") -> None:
    """Writes a run file atomically; ranks count from 1, by score and then by document id.

    Args:
        run: Query id -> document id -> score. A query without documents leaves no trace.
        path: File to write; gzipped if the name ends in ``.gz``.
        tag: Name of the run, one word.

    Raises:
        InputError: A score that is not finite, or an id or tag the format cannot hold.
        SaveError: The file could not be written; what was there is untouched.
    """
    if not tag or re.search(r"\s", tag):
        raise InputError(f"The run's tag must be one word, not {tag!r}.")
    _check_ids(run)
    write_lines(_run_lines(run, tag), path)


def _run_lines(run: Run, tag: str) -> Iterator[str]:
    for query, documents in run.items():
        for rank, (document, score) in enumerate(ranked(documents), start=1):
            if not math.isfinite(score):
                raise InputError(
                    f"The score of document '{document}' for query '{query}' is {score}; a run "
                    "holds finite scores only."
                )
            yield _joined(query, "Q0", document, str(rank), repr(float(score)), tag)


def write_qrels(qrels: Qrels, path: str | Path) -> None:
    """Writes a TREC qrels file atomically; gzipped if the name ends in ``.gz``.

    Raises:
        InputError: An id the format cannot hold.
        SaveError: The file could not be written; what was there is untouched.
    """
    _check_ids(qrels)
    lines = (
        _joined(query, "0", document, str(int(grade)))
        for query, documents in qrels.items()
        for document, grade in documents.items()
    )
    write_lines(lines, path)


def _joined(*fields: str) -> str:
    return ("\t" if any(" " in field for field in fields) else " ").join(fields)


def _check_ids(lists: Mapping[str, Mapping[str, float]]) -> None:
    for query, documents in lists.items():
        for identifier in (query, *documents):
            check_id(identifier)


def check_id(identifier: str) -> None:
    """Refuses an id that line formats cannot hold.

    Raises:
        InputError: It is empty, holds a tab or a line break, or begins with a byte order mark.
    """
    if UNUSABLE_IN_ID.search(identifier):
        raise InputError(
            f"The id {identifier!r} cannot be written to a TREC or BEIR file: it is empty, holds "
            "a tab or a line break, or begins with a byte order mark. Rename it."
        )
