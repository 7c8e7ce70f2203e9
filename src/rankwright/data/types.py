"""The plain types in which the rooms meet."""

from __future__ import annotations

from dataclasses import dataclass, field

Run = dict[str, dict[str, float]]
"""Ranked lists: query id -> document id -> score (higher is better). TREC run file on disk."""

Qrels = dict[str, dict[str, int]]
"""Relevance judgements: query id -> document id -> grade (> 0 is relevant). TREC qrels on disk."""


@dataclass(frozen=True)
class RankingData:
    """Queries, documents and judgements, split by query.

    Attributes:
        queries: Query id -> text; every text is non-empty.
        corpus: Document id -> text; every text is non-empty.
        qrels: Split name ("train", "dev", "test") -> judgements of that split's queries.
        negatives: Query id -> document ids that the data itself names as negatives
            (label 0, or a column of negatives). Empty where the data names none.
        candidates: Split name -> candidate lists that came with the data (a first stage whose
            scores may carry no information). Empty where none came.
        source: Where the data came from, for messages and the model card.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, Qrels]
    negatives: dict[str, list[str]] = field(default_factory=dict)
    candidates: dict[str, Run] = field(default_factory=dict)
    source: str = ""
