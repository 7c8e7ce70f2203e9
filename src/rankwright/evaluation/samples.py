"""Reads the samples of a reranking evaluation into one checked shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.errors import (
    ColumnError,
    DataError,
    EmptyDataError,
    InputTypeError,
    LabelError,
    UnknownIdError,
)

__all__ = ["RerankingSample", "read_samples", "samples_from_corpus"]


@dataclass(frozen=True)
class RerankingSample:
    """One query and its documents, each text once.

    Attributes:
        query: The query.
        grades: Relevant text -> grade, 1 or more; may be empty.
        others: Texts that are not relevant, in the order given.
        ranked: The first stage's list, best first; None if the sample came with negatives.
    """

    query: str
    grades: dict[str, int]
    others: list[str]
    ranked: list[str] | None

    def candidates(self, always_rerank_positives: bool) -> list[str]:
        """The texts that the model is to rank."""
        if self.ranked is not None and not always_rerank_positives:
            return self.ranked
        return [*self.grades, *self.others]


def read_samples(samples: Any) -> list[RerankingSample]:
    """Checks and reads the samples; a dict of samples counts as its values.

    Raises:
        EmptyDataError: There is no sample, or none with a relevant document.
        ColumnError: A sample lacks a key or has two that exclude each other.
        InputTypeError: A value of the wrong type.
        LabelError: A grade that is not a whole number of 0 or more, or two grades for one text.
    """
    rows = list(samples.values() if isinstance(samples, Mapping) else samples)
    if not rows:
        raise EmptyDataError("samples is empty; a reranking evaluation needs at least one query.")
    read = [_read(row, f"Sample {i}") for i, row in enumerate(rows)]
    if not any(sample.grades for sample in read):
        raise EmptyDataError(
            f"None of the {len(read)} samples has a relevant document, so every model would score "
            "0. Check 'positive' (or 'relevance')."
        )
    return read


def samples_from_corpus(
    queries: Mapping[str, str],
    relevant_docs: Mapping[str, Iterable[str] | Mapping[str, int]],
    corpus: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Samples in which every query is ranked against the whole corpus.

    Args:
        queries: Query id -> text.
        relevant_docs: Query id -> ids of relevant documents, or id -> grade.
        corpus: Document id -> text.

    Raises:
        UnknownIdError: A relevant document is not in the corpus.
    """
    texts = list(corpus.values())
    samples = []
    for query_id, query in queries.items():
        judged = relevant_docs.get(query_id, ())
        grades = dict(judged) if isinstance(judged, Mapping) else dict.fromkeys(judged, 1)
        for document_id in grades:
            if document_id not in corpus:
                raise UnknownIdError(
                    f"relevant_docs names document '{document_id}' for query '{query_id}', which "
                    f"is not in the corpus of {len(corpus)}."
                )
        positive = {corpus[document_id]: grade for document_id, grade in grades.items()}
        samples.append({"query": query, "positive": positive, "negative": texts})
    return samples


def _read(row: Any, where: str) -> RerankingSample:
    if not isinstance(row, Mapping):
        raise InputTypeError(f"{where} is a {type(row).__name__}; expected a dict.")
    # A column that is None in this row, as data sets with optional columns have it, is absent.
    row = {key: value for key, value in row.items() if value is not None}
    if not isinstance(row.get("query"), str):
        raise ColumnError(f"{where} needs a 'query' that is a string; its keys: {_keys(row)}.")
    if ("negative" in row) == ("documents" in row):
        raise ColumnError(
            f"{where} needs exactly one of 'negative' and 'documents'; its keys: {_keys(row)}."
        )
    if "relevance" in row and "documents" not in row:
        raise ColumnError(f"{where} has 'relevance', which grades 'documents', but has none.")
    if "positive" not in row and "relevance" not in row:
        raise ColumnError(
            f"{where} needs 'positive' (or 'documents' with 'relevance'); its keys: {_keys(row)}."
        )
    key = "documents" if "documents" in row else "negative"
    listed = _texts(row[key], where, key)
    judged = _judge(listed, row["relevance"], where) if "relevance" in row else {}
    for text, grade in _positives(row.get("positive", []), where).items():
        if judged.setdefault(text, grade) != grade and (
            judged[text] == 0 or isinstance(row["positive"], Mapping)
        ):
            raise LabelError(
                f"{where}: '{_short(text)}' has grade {grade} in 'positive' but {judged[text]} in "
                "'relevance'."
            )
    grades = {text: grade for text, grade in judged.items() if grade > 0}
    distinct = list(dict.fromkeys(listed))
    return RerankingSample(
        query=row["query"],
        grades=grades,
        others=[text for text in distinct if text not in grades],
        ranked=distinct if key == "documents" else None,
    )


def _judge(documents: list[str], relevance: Any, where: str) -> dict[str, int]:
    """Text -> grade of a list of documents and its list of grades."""
    if isinstance(relevance, str) or not hasattr(relevance, "__len__"):
        raise InputTypeError(f"{where}: 'relevance' must be a list with one grade per document.")
    if len(relevance) != len(documents):
        raise DataError(
            f"{where} has {len(documents)} documents but {len(relevance)} grades in 'relevance'."
        )
    grades: dict[str, int] = {}
    for text, value in zip(documents, relevance, strict=True):
        grade = _grade(value, text, where)
        if grades.setdefault(text, grade) != grade:
            raise LabelError(
                f"{where}: '{_short(text)}' is listed twice with grades {grades[text]} and {grade}."
            )
    return grades


def _positives(value: Any, where: str) -> dict[str, int]:
    if isinstance(value, Mapping):
        texts = _texts(value.keys(), where, "positive")
        return {text: _grade(value[text], text, where) for text in texts}
    return dict.fromkeys(_texts(value, where, "positive"), 1)


def _grade(value: Any, text: str, where: str) -> int:
    try:
        grade = int(value)
    except (TypeError, ValueError, OverflowError):
        grade = -1
    if grade < 0 or grade != value:
        raise LabelError(
            f"{where}: the grade of '{_short(text)}' is {value!r}; expected a whole number, 0 for "
            "not relevant and higher for more relevant."
        )
    return grade


def _texts(value: Any, where: str, key: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise InputTypeError(
            f"{where}: '{key}' is a {type(value).__name__}; expected a list of strings."
        )
    texts = list(value)
    for text in texts:
        if not isinstance(text, str):
            raise InputTypeError(
                f"{where}: '{key}' holds a {type(text).__name__} ({text!r}); expected strings."
            )
    return texts


def _keys(row: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, row)) or "none"


def _short(text: Any) -> str:
    words: Sequence[str] = str(text)
    return f"{words[:60]}…" if len(words) > 60 else str(words)
