"""Finds how much weight the first stage deserves, on queries kept for that purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankwright.data.types import Qrels, Run
from rankwright.errors import InputError
from rankwright.evaluation.fusion import Fusion, aligned_lists
from rankwright.evaluation.measures import evaluate_rankings, evaluate_run
from rankwright.evaluation.vectorised import mean_ndcg, ndcg_cutoff, pad

__all__ = ["TunedFusion", "tune_fusion"]

_Floats = npt.NDArray[np.float64]

# Differences below this come from the order of summation, not from the rankings.
_SAME = 1e-9
_TWENTIETHS = tuple(round(0.05 * i, 2) for i in range(21))


@dataclass(frozen=True)
class TunedFusion:
    """What :func:`tune_fusion` found.

    Attributes:
        fusion: The chosen mixture.
        value: Its value of the measure on the tuning queries. It was chosen to be high, so report
            the value on other queries.
        curve: Every mixture that was tried: (weight, normalisation, value).
        reranker_only: Value of the reranked run by itself.
        first_stage_only: Value of the first stage by itself.
        measure: The measure's name.
        queries: Number of queries that counted.
    """

    fusion: Fusion
    value: float
    curve: tuple[tuple[float, str, float], ...]
    reranker_only: float
    first_stage_only: float
    measure: str
    queries: int


def tune_fusion(
    qrels: Qrels,
    reranked: Run,
    first_stage: Run,
    measure: str = "nDCG@10",
    weights: Sequence[float] | _Floats = _TWENTIETHS,
    normalisations: Sequence[str] = ("min-max", "z-score"),
    *,
    name: str = "first-stage",
) -> TunedFusion:
    """Tries every weight and normalisation and picks a mixture from a plateau, not a lucky peak.

    Each point of the curve is averaged with its neighbours in weight, and the highest average
    wins; among equals the larger share of the reranker, then the normalisation named first. Only
    mixtures that are at least as good as the reranker and the first stage by themselves are
    eligible, if there are any. The result is deterministic.

    Args:
        qrels: Judgements of the tuning queries (a dev split, never the test split).
        reranked: The reranker's run.
        first_stage: The first stage's run. Documents that only one of the two has are treated as
            :meth:`Fusion.apply` says.
        measure: Any measure of ``evaluate_run``; ``nDCG@k`` is computed fastest.
        weights: Shares of the first stage to try, each in [0, 1].
        normalisations: Some of ``"min-max"``, ``"z-score"`` and ``"none"``.
        name: Name of the first stage, kept in the result.

    Raises:
        InputError: No or bad weights or normalisations, or an unknown measure.
        EmptyDataError: No query has a relevant document.
        ScoreError: A score is NaN or infinite.
    """
    grid = sorted({float(weight) for weight in weights})
    scalings = list(dict.fromkeys(normalisations))
    if not grid or not scalings:
        raise InputError("Give at least one weight and one normalisation to try.")
    # Building each mixture first lets Fusion check every value before any work is done.
    mixtures = [[Fusion(weight, scaling, name) for weight in grid] for scaling in scalings]
    alone = evaluate_run(qrels, reranked, [measure])
    reranker_only = alone.mean[measure]
    first_stage_only = evaluate_run(qrels, first_stage, [measure]).mean[measure]
    judged = {
        query: grades for query, grades in qrels.items() if max(grades.values(), default=0) > 0
    }
    values = np.array(
        [_curve(judged, reranked, first_stage, measure, row) for row in mixtures], dtype=np.float64
    )
    row, column = _plateau(values, max(reranker_only, first_stage_only))
    return TunedFusion(
        fusion=mixtures[row][column],
        value=float(values[row, column]),
        curve=tuple(
            (fusion.weight, fusion.normalisation, float(value))
            for fusions, line in zip(mixtures, values, strict=True)
            for fusion, value in zip(fusions, line, strict=True)
        ),
        reranker_only=reranker_only,
        first_stage_only=first_stage_only,
        measure=measure,
        queries=alone.queries,
    )


def _plateau(values: _Floats, floor: float) -> tuple[int, int]:
    """Row and column of the best neighbourhood mean among the points not below ``floor``."""
    smoothed = np.empty_like(values)
    for column in range(values.shape[1]):
        smoothed[:, column] = values[:, max(column - 1, 0) : column + 2].mean(axis=1)
    eligible = values >= floor - _SAME
    if eligible.any():
        smoothed = np.where(eligible, smoothed, -np.inf)
    best = np.argwhere(smoothed >= smoothed.max() - _SAME)
    # Weights rise with the column, so the first column has the largest share of the reranker.
    row, column = min(best.tolist(), key=lambda place: (place[1], place[0]))
    return row, column


def _curve(
    judged: Qrels, reranked: Run, first_stage: Run, measure: str, mixtures: Sequence[Fusion]
) -> list[float]:
    """The measure's mean for mixtures that differ only in weight."""
    lists = {
        query_id: aligned_lists(
            reranked.get(query_id, {}),
            first_stage.get(query_id, {}),
            mixtures[0].normalisation,
            query_id,
        )
        for query_id in judged
    }
    reranker = pad([scores for _, scores, _ in lists.values()], 0.0)
    first = pad([scores for _, _, scores in lists.values()], 0.0)
    empty = pad([np.zeros(len(documents)) for documents, _, _ in lists.values()], 1.0) > 0
    orders = (
        np.argsort(
            np.where(empty, np.inf, -(f.weight * first + (1.0 - f.weight) * reranker)),
            axis=1,
            kind="stable",
        )
        for f in mixtures
    )
    cutoff = ndcg_cutoff(measure)
    if cutoff is not None:
        gains = pad(
            [
                np.array([max(judged[query].get(doc, 0), 0) for doc in documents], dtype=np.float64)
                for query, (documents, _, _) in lists.items()
            ],
            0.0,
        )
        ideal = pad(
            [np.maximum(list(g.values()), 0).astype(np.float64) for g in judged.values()], 0.0
        )
        return [mean_ndcg(np.take_along_axis(gains, order, 1), ideal, cutoff) for order in orders]
    return [
        evaluate_rankings(
            judged,
            {
                query: [documents[i] for i in line[: len(documents)]]
                for (query, (documents, _, _)), line in zip(
                    lists.items(), order.tolist(), strict=True
                )
            },
            [measure],
        ).mean[measure]
        for order in orders
    ]
