"""Mixing a reranker's scores with a first stage's, as a model's contract says.

The weight is tuned on runs, in the evaluation room; here the same formula serves one list::

    fused = (1 - weight) * normalised(reranker) + weight * normalised(first stage)

A convex combination after Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid
Retrieval", arXiv 2210.11934.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import ConfigError, InputError, ScoreError

__all__ = ["check_fusion", "fuse"]

NORMALISATIONS = ("min-max", "z-score", "none")


def check_fusion(fusion: Mapping[str, Any]) -> dict[str, Any]:
    """A fusion as plain data, checked.

    Raises:
        ConfigError: No weight from 0 to 1, or an unknown normalisation.
    """
    weight, normalisation = fusion.get("weight"), fusion.get("normalisation", "min-max")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise ConfigError(
            f"fusion: 'weight' is {weight!r}; expected a number from 0 (the reranker alone) "
            "to 1 (the first stage alone)."
        )
    if normalisation not in NORMALISATIONS:
        raise ConfigError(
            f"fusion: 'normalisation' is {normalisation!r}; expected one of {NORMALISATIONS}."
        )
    return {**fusion, "weight": float(weight), "normalisation": normalisation}


def fuse(
    fusion: Mapping[str, Any], scores: Sequence[float], first_stage_scores: Sequence[float]
) -> list[float]:
    """Mixed scores of one query's n documents.

    Args:
        fusion: ``{"weight": α, "normalisation": "min-max" | "z-score" | "none"}``.
        scores: n scores of the reranker.
        first_stage_scores: n scores of the first stage, in the same order.

    Raises:
        InputError: The two lists are not equally long, or hold something else than numbers.
        ScoreError: A score is NaN or infinite.
        ConfigError: A fusion that does not hold.
    """
    checked = check_fusion(fusion)
    if len(scores) != len(first_stage_scores):
        raise InputError(
            f"first_stage_scores has {len(first_stage_scores)} scores for {len(scores)} documents; "
            "pass one score per document, in the same order."
        )
    weight, normalisation = checked["weight"], checked["normalisation"]
    first = _normalised(first_stage_scores, normalisation, "first_stage_scores")
    reranker = _normalised(scores, normalisation, "the reranker's scores")
    mixed: list[float] = (weight * first + (1.0 - weight) * reranker).tolist()
    return mixed


def _normalised(scores: Sequence[float], normalisation: str, what: str) -> NDArray[np.float64]:
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers, one per document: {error}.") from error
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ScoreError(f"{what}[{at}] is {values[at]}; only finite scores can be mixed.")
    if normalisation == "none" or not values.size:
        return values
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros_like(values)
    # Halves first: the span of two finite numbers can itself overflow.
    unit: NDArray[np.float64] = (values / 2 - low / 2) / (high / 2 - low / 2)
    if normalisation == "min-max":
        return unit
    standard: NDArray[np.float64] = (unit - unit.mean()) / unit.std()
    return standard
