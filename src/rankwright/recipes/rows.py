"""Training rows: every query's relevant documents beside its mined negatives."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from rankwright.data.types import RankingData, Run
from rankwright.errors import EmptyDataError
from rankwright.mining import mine, score_positives
from rankwright.recipes.candidates import Candidates
from rankwright.recipes.recipe import Recipe

__all__ = ["training_rows"]

logger = logging.getLogger(__name__)


def training_rows(
    data: RankingData, candidates: Candidates, recipe: Recipe
) -> list[dict[str, Any]]:
    """Rows ``{"query", "documents", "labels"}``, one per relevant document of a train query.

    A row holds the relevant document first (its label is its grade) and then the negatives: those
    the data names itself, filled up with mined ones to ``mining.num_negatives``.

    Raises:
        EmptyDataError: No train query has both a relevant document and a negative.
    """
    wanted = recipe.mining.num_negatives
    mined = _mined(data, candidates, recipe)
    rows: list[dict[str, Any]] = []
    for query, judged in data.qrels["train"].items():
        relevant = {d: grade for d, grade in judged.items() if grade > 0}
        known = set(relevant)
        named = [d for d in data.negatives.get(query, []) if d not in known]
        extra = wanted + recipe.mining.random_negatives - len(named)
        fresh = [d for d in mined.get(query, []) if d not in known and d not in set(named)]
        negatives = [*named, *fresh[: max(extra, 0)]]
        if not negatives:
            continue
        for document, grade in relevant.items():
            rows.append(
                {
                    "query": data.queries[query],
                    "documents": [data.corpus[d] for d in (document, *negatives)],
                    "labels": [float(grade), *([0.0] * len(negatives))],
                }
            )
    if not rows:
        raise EmptyDataError(
            "no train query has both a relevant document and a negative: nothing can be learnt. "
            "Check the labels, give a larger corpus, or relax the mining options."
        )
    pairs = sum(len(row["documents"]) for row in rows)
    logger.info("Training rows: %s, with %s pairs.", f"{len(rows):,}", f"{pairs:,}")
    return rows


def _mined(data: RankingData, candidates: Candidates, recipe: Recipe) -> dict[str, list[str]]:
    mining = recipe.mining
    names = {
        "best": [candidates.best],
        "bm25": ["BM25"],
        "dense": ["dense"],
        "both": list(candidates.runs),
    }[mining.stages]
    share = -(-mining.num_negatives // len(names))
    options = replace(mining.mining_options(recipe.seed), num_negatives=share)
    found: dict[str, list[str]] = {}
    for position, name in enumerate(names):
        run: Run = candidates.runs[name]["train"]
        positives = None
        if mining.relative_margin is not None:
            stage = candidates.stages[name]
            # A run taken from the workspace left its stage without an index.
            stage.index(list(data.corpus.values()))
            positives = score_positives(
                stage,
                data.corpus,
                {q: data.queries[q] for q in data.qrels["train"]},
                data.qrels["train"],
            )
        mined = mine(
            run,
            data.qrels["train"],
            options,
            corpus=data.corpus,
            positive_scores=positives,
            # Random ones once, not once per stage.
            random_negatives=mining.random_negatives if position == len(names) - 1 else 0,
        )
        for query, documents in mined.items():
            before = found.setdefault(query, [])
            before.extend(d for d in documents if d not in before)
    return found
