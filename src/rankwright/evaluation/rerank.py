"""The second stage of search: a model puts the first stage's candidates in a better order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rankwright.data.types import Run
from rankwright.errors import InputError, UnknownIdError
from rankwright.evaluation.measures import ranked_ids
from rankwright.evaluation.scoring import PairScorer, score_pairs

__all__ = ["Reranked", "rerank_run"]


@dataclass(frozen=True)
class Reranked:
    """What :func:`rerank_run` returns.

    Attributes:
        run: Query id -> document id -> score of the model, best first.
        pairs: How many pairs were scored.
        seconds: How long the model took for them.
    """

    run: Run
    pairs: int
    seconds: float

    @property
    def pairs_per_second(self) -> float:
        """Throughput of the model; 0 if there was nothing to score."""
        return self.pairs / self.seconds if self.seconds > 0 else 0.0


def rerank_run(
    model: PairScorer,
    run: Run,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    *,
    depth: int = 100,
    batch_size: int = 32,
    show_progress_bar: bool | None = None,
) -> Reranked:
    """Scores the top ``depth`` documents of every query anew.

    Only what the first stage found can be reranked, and what it placed below ``depth`` is left
    out of the result. All pairs of all queries go through one ``predict`` call, so that the model
    can sort them by length across queries.

    Args:
        model: Anything with ``predict(pairs, batch_size=, show_progress_bar=)`` that gives one
            score per pair.
        run: The first stage: query id -> document id -> score; ties as in ``evaluate_run``.
        queries: Query id -> text.
        corpus: Document id -> text.
        depth: How many documents per query are reranked.
        batch_size: Pairs per batch.
        show_progress_bar: None shows it when logging is at INFO or lower.

    Raises:
        UnknownIdError: A query or document of the run has no text.
        ScoreError: The model gave NaN or infinity for a pair.
        InputError: ``depth`` or ``batch_size`` is below 1, or the model has several labels.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1.")
    top: dict[str, list[str]] = {}
    pairs: list[tuple[str, str]] = []
    for query_id, scores in run.items():
        top[query_id] = ranked_ids(scores, query_id)[:depth]
        query = _text(queries, query_id, "query", "queries")
        pairs += [(query, _text(corpus, doc, "document", "corpus")) for doc in top[query_id]]
    names = [(query_id, doc) for query_id, ids in top.items() for doc in ids]
    started = time.perf_counter()
    values = score_pairs(
        model,
        pairs,
        lambda i: f"query '{names[i][0]}' and document '{names[i][1]}'",
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
    )
    seconds = time.perf_counter() - started
    reranked: Run = {}
    start = 0
    for query_id, ids in top.items():
        scored = dict(zip(ids, values[start : start + len(ids)].tolist(), strict=True))
        reranked[query_id] = {doc: scored[doc] for doc in ranked_ids(scored, query_id)}
        start += len(ids)
    return Reranked(run=reranked, pairs=len(pairs), seconds=seconds)


def _text(texts: Mapping[str, str], key: str, kind: str, argument: str) -> str:
    try:
        return texts[key]
    except KeyError:
        raise UnknownIdError(
            f"The run names {kind} '{key}', which is not in {argument} ({len(texts)} entries). "
            f"Check that the run and the {argument} belong to the same data set."
        ) from None
