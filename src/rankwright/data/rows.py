"""From rows of (query, document, label, negatives) to queries, documents and judgements."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from rankwright.data.columns import ColumnRoles, column_roles
from rankwright.data.files import excerpt
from rankwright.data.labels import parse_label, to_grades
from rankwright.data.negatives import without_positives
from rankwright.data.options import LoadOptions
from rankwright.data.split import ordered_splits
from rankwright.data.table import Place, Table, checked_text
from rankwright.data.types import Qrels, RankingData
from rankwright.errors import ColumnError, EmptyDataError, LabelError

__all__ = ["collect_tables"]

logger = logging.getLogger(__name__)

RELEVANT = 1


class _Judgement(NamedTuple):
    split: str
    query: str
    document: str
    label: float | None  # None: relevant, without a label


def collect_tables(tables: Mapping[str, Table], options: LoadOptions, source: str) -> RankingData:
    """Reads the tables of all splits into one set of queries and documents.

    Equal texts are one query or one document, whatever row or split they stand in; ids are
    ``q0``, ``q1`` … and ``d0``, ``d1`` … in the order of first appearance. A pair that is labelled
    twice keeps its higher grade, and a warning says how often that happened. A document with
    grade 0 is judged so and is also one of the query's negatives; a text of a negative column is
    only a negative.

    Args:
        tables: Split name -> rows.
        options: Columns and relevance threshold.
        source: Where the data came from.

    Raises:
        ColumnError: The columns' roles cannot be told, or a row lacks one of them.
        DataError: A text or label that cannot be used; the message names the row.
        EmptyDataError: Not one pair is relevant.
    """
    collector = _Collector()
    for split, table in ordered_splits(tables).items():
        collector.add(split, table, options)
    return collector.finish(options, source)


class _Collector:
    def __init__(self) -> None:
        self.query_ids: dict[str, str] = {}
        self.document_ids: dict[str, str] = {}
        self.judgements: list[_Judgement] = []
        self.negatives: dict[str, list[str]] = {}

    def add(self, split: str, table: Table, options: LoadOptions) -> None:
        rows = iter(table.rows)
        first = next(rows, None)
        if first is None:
            raise EmptyDataError("there are no rows.", path=table.path)
        roles = _roles(table, first[1], options)
        known = set(table.columns)
        dropped = 0
        for number, row in chain([first], rows):
            place = table.place(number)
            if row.keys() != known:
                _check_columns(row, known, roles, place)
            try:
                self.add_row(split, row, roles, place)
            except EmptyDataError:
                if not options.drop_empty:
                    raise
                dropped += 1
        if dropped:
            logger.warning("%s: %d rows with an empty text were dropped.", table.path, dropped)

    def add_row(self, split: str, row: Mapping[str, Any], roles: ColumnRoles, place: Place) -> None:
        # everything is checked before anything is kept, so that a row counts whole or not at all
        query_text = checked_text(row[roles.query], roles.query, place)
        documents = list(_documents(row, roles, place))
        negatives = [
            text
            for column in roles.negatives
            for text in _negative_texts(row.get(column), column, place)
        ]
        query = self.query_id(query_text)
        for text, label in documents:
            self.judgements.append(_Judgement(split, query, self.document_id(text), label))
        if negatives:
            listed = self.negatives.setdefault(query, [])
            listed.extend(self.document_id(text) for text in negatives)

    def query_id(self, text: str) -> str:
        return self.query_ids.setdefault(text, f"q{len(self.query_ids)}")

    def document_id(self, text: str) -> str:
        return self.document_ids.setdefault(text, f"d{len(self.document_ids)}")

    def finish(self, options: LoadOptions, source: str) -> RankingData:
        labels = [row.label for row in self.judgements if row.label is not None]
        grades = iter(to_grades(labels, options.relevance_threshold))
        qrels: dict[str, Qrels] = {}
        negatives: dict[str, list[str]] = {}
        conflicts = 0
        for split, query, document, label in self.judgements:
            grade = RELEVANT if label is None else next(grades)
            judged = qrels.setdefault(split, {}).setdefault(query, {})
            before = judged.setdefault(document, grade)
            conflicts += before != grade
            judged[document] = max(before, grade)
            if grade <= 0:
                negatives.setdefault(query, []).append(document)
        for query, documents in self.negatives.items():
            negatives.setdefault(query, []).extend(documents)
        if conflicts:
            logger.warning(
                "%s labels %d pairs again with another grade; the higher grade counts.",
                source,
                conflicts,
            )
        if not any(g > 0 for q in qrels.values() for judged in q.values() for g in judged.values()):
            raise EmptyDataError(
                f"not one of {len(self.judgements)} pairs is relevant: every label is below the "
                f"relevance threshold ({options.relevance_threshold:g}). Check the label column "
                "or lower --relevance-threshold.",
                path=source,
            )
        return RankingData(
            queries={identifier: text for text, identifier in self.query_ids.items()},
            corpus={identifier: text for text, identifier in self.document_ids.items()},
            qrels=qrels,
            negatives=without_positives(negatives, qrels, source),
            source=source,
        )


def _roles(table: Table, sample: Mapping[str, Any], options: LoadOptions) -> ColumnRoles:
    try:
        roles = column_roles(table.columns, sample, options)
    except ColumnError as error:
        raise ColumnError(str(error), path=table.path) from None
    logger.info(
        "%s: query '%s', document '%s', label %s, negatives %s; not read: %s",
        table.path,
        roles.query,
        roles.document,
        roles.label,
        ", ".join(roles.negatives) or "none",
        ", ".join(roles.ignored) or "none",
    )
    if roles.label is None and not roles.negatives:
        unread = [name for name in roles.ignored if _may_be_label(name, sample.get(name))]
        if unread:
            logger.warning(
                "%s has no label column that is known, so every row counts as relevant, and %s "
                "is not read. If it holds the labels, say so with --label-column.",
                table.path,
                " and ".join(map(repr, unread)),
            )
    return roles


def _may_be_label(name: str, value: Any) -> bool:
    if re.search(r"(^|_)(id|idx|index)$|^$|^unnamed", name.strip(), re.IGNORECASE):
        return False
    if isinstance(value, str):
        return re.fullmatch(r"\s*(-?\d+(\.\d+)?|true|false)\s*", value, re.IGNORECASE) is not None
    return isinstance(value, (bool, int, float))


def _check_columns(
    row: Mapping[str, Any], known: set[str], roles: ColumnRoles, place: Place
) -> None:
    """Refuses a row that lacks a column, or brings one that the first row did not have."""
    missing = [name for name in roles.used() if name not in row and name not in roles.negatives]
    if missing:
        raise place.error(
            ColumnError,
            f"the row has no '{missing[0]}'. Columns found: {', '.join(map(repr, row))}.",
        )
    # a label or a negative that starts late would otherwise be lost without a word
    late = [name for name in row if name not in known]
    if not late:
        return
    now = column_roles(
        list(row), row, LoadOptions(query_column=roles.query, document_column=roles.document)
    )
    if now.label not in (roles.label, None) or not set(now.negatives) <= set(roles.negatives):
        raise place.error(
            ColumnError,
            f"the row has {', '.join(map(repr, late))}, which the first row has not. Give every "
            "row the same columns.",
        )


def _documents(
    row: Mapping[str, Any], roles: ColumnRoles, place: Place
) -> Iterator[tuple[str, float | None]]:
    value = row[roles.document]
    if not isinstance(value, (list, tuple)):
        label = None
        text = checked_text(value, roles.document, place)
        if roles.label is not None:
            label = parse_label(row[roles.label], roles.label, place)
        yield text, label
        return
    texts = [checked_text(text, roles.document, place) for text in value]
    if not texts:
        raise place.error(EmptyDataError, "the list of documents is empty.", roles.document)
    if roles.label is None:
        yield from ((text, None) for text in texts)
        return
    labels = row[roles.label]
    if not isinstance(labels, (list, tuple)) or len(labels) != len(texts):
        raise place.error(
            LabelError,
            f"expected a list of {len(texts)} labels, one for each document in "
            f"'{roles.document}', found {excerpt(labels)}.",
            roles.label,
        )
    for text, label in zip(texts, labels, strict=True):
        yield text, parse_label(label, roles.label, place)


def _negative_texts(value: Any, column: str, place: Place) -> Iterator[str]:
    if value is None:
        return  # rows may have fewer negatives than columns
    for text in value if isinstance(value, (list, tuple)) else [value]:
        yield checked_text(text, column, place)
