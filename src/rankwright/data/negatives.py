"""Negatives that the data names, kept apart from its positives."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from rankwright.data.types import Qrels

__all__ = ["without_positives"]

logger = logging.getLogger(__name__)


def without_positives(
    negatives: Mapping[str, Iterable[str]], qrels: Mapping[str, Qrels], source: str
) -> dict[str, list[str]]:
    """Negatives without repeats and without documents that are relevant to the same query.

    A document that the data calls both is relevant; a warning says how many there were.

    Args:
        negatives: Query id -> document ids.
        qrels: Split name -> judgements.
        source: Where the data came from, for the warning.
    """
    kept: dict[str, list[str]] = {}
    contradictions = 0
    for query, documents in negatives.items():
        relevant = {
            document
            for judged in qrels.values()
            for document, grade in judged.get(query, {}).items()
            if grade > 0
        }
        unique = dict.fromkeys(documents)
        left = [document for document in unique if document not in relevant]
        contradictions += len(unique) - len(left)
        if left:
            kept[query] = left
    if contradictions:
        logger.warning(
            "%s names %d documents both as relevant and as a negative of the same query; they "
            "count as relevant.",
            source,
            contradictions,
        )
    return kept
