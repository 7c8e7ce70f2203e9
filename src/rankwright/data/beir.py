"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/*.tsv and, if any, runs/*.trec.

Our own addition is ``negatives.jsonl`` (``{"_id": query, "negatives": [document, …]}``), written
only for negatives that the qrels do not already name with grade 0.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from rankwright.data.files import excerpt, read_lines, require_file
from rankwright.data.jsonl import read_jsonl
from rankwright.data.labels import to_grade
from rankwright.data.negatives import without_positives
from rankwright.data.options import LoadOptions
from rankwright.data.split import canonical_split
from rankwright.data.table import Place, checked_text
from rankwright.data.trec import (
    QrelsLine,
    RunLine,
    collect_qrels,
    collect_run,
    iter_run,
    parse_grade,
)
from rankwright.data.types import Qrels, RankingData
from rankwright.errors import (
    ColumnError,
    DataNotFoundError,
    DuplicateIdError,
    EmptyDataError,
    FormatError,
    UnknownIdError,
)

__all__ = ["QRELS_HEADER", "is_beir", "read_beir", "read_beir_qrels"]

logger = logging.getLogger(__name__)

L = TypeVar("L", QrelsLine, RunLine)

QRELS_HEADER = ("query-id", "corpus-id", "score")


def is_beir(folder: Path) -> bool:
    """Whether a folder has BEIR's corpus or queries, be they gzipped."""
    return any(_text_file(folder, name).exists() for name in ("corpus.jsonl", "queries.jsonl"))


def _text_file(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.exists() and not (folder / name).exists() else folder / name


def read_beir(folder: Path, options: LoadOptions) -> RankingData:
    """Reads a BEIR folder as it is, without carving splits.

    Title and text are joined with a space. Grades follow the relevance threshold. Documents
    with a grade of 0 or less become the query's negatives.

    Raises:
        DataNotFoundError: The corpus, the queries or every qrels file is missing.
        DataError: Something in the files does not hold; the message names file and line.
    """
    drop = options.drop_empty
    corpus = _Texts(require_file(_text_file(folder, "corpus.jsonl"), "BEIR corpus"), drop, "title")
    queries = _Texts(require_file(_text_file(folder, "queries.jsonl"), "BEIR queries"), drop)
    qrels: dict[str, Qrels] = {}
    negatives: dict[str, list[str]] = {}
    for split, path in _split_files(folder / "qrels", "tsv").items():
        qrels[split] = {}
        for query, judged in _checked_qrels(path, queries, corpus).items():
            grades = {doc: to_grade(g, options.relevance_threshold) for doc, g in judged.items()}
            qrels[split][query] = grades
            negatives.setdefault(query, []).extend(d for d, grade in grades.items() if grade <= 0)
    if not qrels:
        raise DataNotFoundError(
            f"{folder / 'qrels'} holds no judgements. A BEIR folder needs at least one of "
            "qrels/train.tsv, qrels/dev.tsv and qrels/test.tsv."
        )
    if not any(
        g > 0 for split in qrels.values() for judged in split.values() for g in judged.values()
    ):
        raise EmptyDataError(
            "not one judgement is relevant: every grade is below the relevance threshold "
            f"({options.relevance_threshold:g}).",
            path=folder / "qrels",
        )
    named = folder / "negatives.jsonl"
    for query, documents in _read_negatives(named, queries, corpus) if named.exists() else ():
        negatives.setdefault(query, []).extend(documents)
    candidates = {
        split: collect_run(_known_only(iter_run(path), path, queries, corpus), path)
        for split, path in _split_files(folder / "runs", "trec").items()
    }
    return RankingData(
        queries.texts,
        corpus.texts,
        qrels,
        without_positives(negatives, qrels, str(folder)),
        candidates,
        str(folder),
    )


def _split_files(folder: Path, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*.{ending}")) + sorted(folder.glob(f"*.{ending}.gz")):
        split = canonical_split(path.name.split(f".{ending}")[0])
        if split in found:
            raise FormatError(
                f"{found[split].name} and {path.name} are both the {split} split. Keep one.",
                path=folder,
            )
        found[split] = path
    return found


class _Texts:
    """Id -> text of one file, and the ids that were dropped because their text is empty."""

    def __init__(self, path: Path, drop_empty: bool, title: str | None = None) -> None:
        self.name = path.name
        self.texts: dict[str, str] = {}
        self.dropped: set[str] = set()
        lines: dict[str, int] = {}
        for number, row in read_jsonl(path):
            place = Place(str(path), number)
            identifier = _identifier(row, place)
            if identifier in lines:
                raise place.error(
                    DuplicateIdError,
                    f"the id '{identifier}' is already used on line {lines[identifier]}. Every id "
                    "must stand for one text.",
                )
            lines[identifier] = number
            try:
                self.texts[identifier] = _joined_text(row, title, place)
            except EmptyDataError:
                if not drop_empty:
                    raise
                self.dropped.add(identifier)
        if not self.texts:
            raise EmptyDataError("the file has no rows.", path=path)
        if self.dropped:
            logger.warning(
                "%s: %d rows with an empty text were dropped, and what refers to them.",
                path,
                len(self.dropped),
            )

    def has(self, identifier: str, place: Place) -> bool:
        """Whether a text was kept; raises UnknownIdError if it never was there."""
        if identifier in self.texts:
            return True
        if identifier in self.dropped:
            return False
        raise place.error(
            UnknownIdError,
            f"the id {excerpt(identifier)} is not in {self.name}. Add it there or remove this "
            "line.",
        )


def _identifier(row: dict[str, Any], place: Place) -> str:
    if "_id" not in row:
        raise place.error(
            ColumnError, f"no field '_id'. Fields found: {', '.join(map(repr, row)) or 'none'}."
        )
    value = row["_id"]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # qrels hold texts, so 12 and "12" can only be the same id
    return checked_text(value, "_id", place)


def _joined_text(row: dict[str, Any], title: str | None, place: Place) -> str:
    if "text" not in row:
        raise place.error(
            ColumnError, f"no field 'text'. Fields found: {', '.join(map(repr, row))}."
        )
    head = row.get(title) if title else None
    if head is None or head == "":
        return checked_text(row["text"], "text", place)
    head = checked_text(head, "title", place) if str(head).strip() else ""
    if row["text"] is None or row["text"] == "":
        return checked_text(head, "text", place)
    text = checked_text(row["text"], "text", place)
    return f"{head} {text}" if head else text


def read_beir_qrels(path: str | Path) -> Qrels:
    """Reads a tab-separated file of query id, document id and grade; a header line is optional.

    Raises:
        DataNotFoundError: No such file.
        FormatError: A line of another form.
        LabelError: A grade that is no whole number.
        DuplicateIdError: A document judged twice for one query, with two grades.
    """
    return collect_qrels(iter_beir_qrels(Path(path)), path)


def iter_beir_qrels(path: Path) -> Iterator[QrelsLine]:
    """Lines of a BEIR qrels file, checked one by one; for errors see :func:`read_beir_qrels`."""
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not fields[0] or not fields[1]:
            raise FormatError(
                f"expected 3 columns separated by tabs, {', '.join(QRELS_HEADER)}; found "
                f"{excerpt(line)}.",
                path=path,
                line=number,
            )
        if number == 1 and not re.search(r"\d", fields[2]):
            continue  # the header
        yield QrelsLine(number, fields[0], fields[1], parse_grade(fields[2], path, number))


def _checked_qrels(path: Path, queries: _Texts, corpus: _Texts) -> Qrels:
    qrels = collect_qrels(_known_only(iter_beir_qrels(path), path, queries, corpus), path)
    if not qrels:
        raise EmptyDataError("the file has no judgements.", path=path)
    return qrels


def _known_only(rows: Iterator[L], path: Path, queries: _Texts, corpus: _Texts) -> Iterator[L]:
    for row in rows:
        place = Place(str(path), row.line)
        # both are asked, so that a wrong id is told even beside a dropped one
        if all([queries.has(row.query, place), corpus.has(row.document, place)]):
            yield row


def _read_negatives(path: Path, queries: _Texts, corpus: _Texts) -> Iterator[tuple[str, list[str]]]:
    for number, row in read_jsonl(path):
        place = Place(str(path), number)
        query = _identifier(row, place)
        documents = row.get("negatives")
        if not isinstance(documents, list) or not all(isinstance(d, str) for d in documents):
            raise place.error(FormatError, "expected a list of document ids.", "negatives")
        kept = [document for document in documents if corpus.has(document, place)]
        if queries.has(query, place):
            yield query, kept
