"""Which column means what.

Training and loading share one rule: the first of ``label``, ``labels``, ``score``, ``scores`` is
the label column, and every other column is an input, in order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.data.options import LoadOptions
from rankwright.errors import ColumnError

__all__ = ["LABEL_COLUMNS", "ColumnRoles", "column_roles", "input_columns", "label_column"]

LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""Names of the label column; the first of them that is present counts."""

QUERY_NAMES = ("query", "question", "anchor", "sentence1", "text1", "premise")
DOCUMENT_NAMES = (
    "document", "documents", "passage", "passages", "answer", "text", "positive", "positives",
    "pos", "response", "sentence2", "text2", "doc", "docs", "hypothesis",
)  # fmt: skip
RELEVANCE_NAMES = (*LABEL_COLUMNS, "relevance")
NEGATIVE_NAME = re.compile(r"(?:hard_)?neg(?:ative)?s?(?:_?(\d+))?")


def label_column(names: Sequence[str]) -> str | None:
    """The label column of a training data set, or None if it has none."""
    return next((name for name in LABEL_COLUMNS if name in names), None)


def input_columns(names: Sequence[str]) -> list[str]:
    """Every column of a training data set but the label column, in order."""
    label = label_column(names)
    return [name for name in names if name != label]


@dataclass(frozen=True)
class ColumnRoles:
    """What the columns of a table stand for.

    Attributes:
        query: Column of the query text.
        document: Column of the document text, or of a list of them.
        label: Column of the label, or of a list with one label per document; None if every
            document is relevant.
        negatives: Columns of negative texts or lists of them, in the order of their numbers.
        ignored: Columns that nothing reads.
    """

    query: str
    document: str
    label: str | None = None
    negatives: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def used(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        label = () if self.label is None else (self.label,)
        return (self.query, self.document, *label, *self.negatives)


def column_roles(
    names: Sequence[str],
    sample_row: Mapping[str, Any] | None = None,
    options: LoadOptions | None = None,
) -> ColumnRoles:
    """Finds the query, document, label and negative columns.

    Options decide first, then the usual names (case, spaces and hyphens do not count). If a query
    or document column is still missing and there are exactly two text columns, the missing one is
    the other; if both are missing, the first is the query and the second the document.

    Layouts: (query, document[, label]); (query, positive, negative[, negative_2 …]), where a
    negative column may hold lists; FlagEmbedding's (query, pos, neg), whose pos_scores,
    neg_scores and prompt are not read; (query, [documents], [labels]). Beside negative columns a
    label column holds a teacher's scores and is not read unless an option names it.

    Args:
        names: The columns, in order.
        sample_row: A row, to tell texts from numbers where names are unknown.
        options: The columns that the user named.

    Raises:
        ColumnError: A named column is missing, two columns could be the same role, or the roles
            cannot be told. The message lists what was found and how to name them.
    """
    options = options or LoadOptions()
    finder = _Finder(list(names), sample_row, options)
    negatives = finder.negatives()
    label = finder.label(negatives)
    query, document = finder.query_and_document()
    roles = ColumnRoles(query, document, label, negatives)
    return ColumnRoles(
        query, document, label, negatives, tuple(n for n in names if n not in roles.used())
    )


class _Finder:
    """One search over one set of names; columns that were given a role are taken."""

    def __init__(
        self, names: list[str], sample_row: Mapping[str, Any] | None, options: LoadOptions
    ) -> None:
        self.names = names
        self.sample = sample_row
        self.options = options
        self.taken: set[str] = set()
        named = {
            "--query-column": options.query_column,
            "--document-column": options.document_column,
            "--label-column": options.label_column,
        }
        for option, name in [
            *named.items(),
            *(("--negative-column", n) for n in options.negative_columns),
        ]:
            if name is None:
                continue
            if name not in names:
                raise self.problem(f"{option} names the column '{name}', which is not there.")
            if name in self.taken:
                raise self.problem(f"the column '{name}' was named for two roles.")
            self.taken.add(name)

    def negatives(self) -> tuple[str, ...]:
        if self.options.negative_columns:
            return self.options.negative_columns
        found = []
        for place, name in enumerate(self.names):
            match = NEGATIVE_NAME.fullmatch(_plain(name))
            if match and name not in self.taken:
                found.append((int(match[1] or 0), place, name))
                self.taken.add(name)
        return tuple(name for _, _, name in sorted(found))

    def label(self, negatives: tuple[str, ...]) -> str | None:
        if self.options.label_column is not None:
            return self.options.label_column
        found = [
            n
            for known in RELEVANCE_NAMES
            for n in self.names
            if _plain(n) == known and n not in self.taken
        ]
        # all of them are numbers, so none may be taken for a text
        self.taken.update(found)
        return found[0] if found and not negatives else None

    def query_and_document(self) -> tuple[str, str]:
        query = self.options.query_column or self.by_name(QUERY_NAMES, "query")
        document = self.options.document_column or self.by_name(DOCUMENT_NAMES, "document")
        if query is not None and document is not None:
            return query, document
        known = [name for name in (query, document) if name is not None]
        left = [name for name in self.names if name not in self.taken and self.is_text(name)]
        if len(left) + len(known) != 2:
            raise self.problem(
                "which column is the query and which the document cannot be told from the names."
            )
        if query is not None:
            return query, left[0]
        if document is not None:
            return left[0], document
        return left[0], left[1]

    def by_name(self, known: Sequence[str], role: str) -> str | None:
        found = [n for n in self.names if _plain(n) in known and n not in self.taken]
        if len(found) > 1:
            raise self.problem(
                f"{' and '.join(repr(name) for name in found)} could each be the {role} column."
            )
        self.taken.update(found)
        return found[0] if found else None

    def is_text(self, name: str) -> bool:
        value = self.sample.get(name) if self.sample is not None else ""
        if isinstance(value, (list, tuple)):
            return bool(value) and all(isinstance(item, str) for item in value)
        return isinstance(value, str) and not re.fullmatch(r"\s*-?[\d.,]+\s*", value)

    def problem(self, what: str) -> ColumnError:
        found = ", ".join(repr(name) for name in self.names) or "none"
        hint = ""
        if len(self.names) == 1:
            hint = next(
                (
                    f" The only column holds {mark!r}: is that the separator? "
                    "A .csv file is separated by commas, a .tsv file by tabs."
                    for mark in (";", "|", "\t")
                    if mark in self.names[0]
                ),
                "",
            )
        return ColumnError(
            f"{what} Columns found: {found}.{hint} Expected: a query and a document, with a label "
            "or with negatives where there are any. Rename the columns (query, document, label, "
            "negative_1 …), or name them with --query-column, --document-column, --label-column "
            "and --negative-column (in Python: LoadOptions(query_column=…))."
        )


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())
