"""All pairs of an evaluation through one ``predict`` call, and a check of what comes back.

With several processes each one scores a share of the pairs; see `rankwright.evaluation.shared`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rankwright.errors import InputError, ScoreError
from rankwright.evaluation.shared import predict_shared

__all__ = ["FLAT", "PairScorer", "predict_pairs", "score_pairs"]

logger = logging.getLogger(__name__)

FLAT = 1e-5
"""Scores whose spread is at most this share of the largest one in magnitude count as all equal."""

_ENOUGH_PAIRS = 10


class PairScorer(Protocol):
    """What is asked of a model here; ``CrossEncoder`` and ``Reranker`` both fulfil it."""

    def predict(self, inputs: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Scores of (query, document) pairs, in the order given."""


def predict_pairs(
    model: PairScorer,
    pairs: Sequence[tuple[str, str]],
    name_pair: Callable[[int], str],
    *,
    batch_size: int,
    show_progress_bar: bool | None,
    prompt_name: str | None = None,
) -> npt.NDArray[Any]:
    """What the model predicts for the pairs, shape (pairs,) or (pairs, labels), all finite.

    A model that scores ten pairs or more practically alike has collapsed, or its activation is
    saturated; a warning says so.

    Args:
        name_pair: Makes words that name a pair in an error, given its number.

    Raises:
        ScoreError: A value is NaN or infinite.
        InputError: ``batch_size`` is below 1, or the model returned another number of scores.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    if not pairs:
        return np.zeros(0)
    shown = logger.isEnabledFor(logging.INFO) if show_progress_bar is None else show_progress_bar
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": shown}
    if prompt_name is not None:
        options["prompt_name"] = prompt_name
    scores = predict_shared(model, list(pairs), options)
    finite = np.isfinite(scores).reshape(len(pairs), -1).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ScoreError(
            f"The model gave {scores[first]} for {name_pair(first)}; {np.count_nonzero(~finite)} "
            f"of {len(pairs)} pairs have no finite score. Check the weights, or run in a wider "
            "precision (float32)."
        )
    _warn_if_flat(scores, pairs)
    return scores


def _warn_if_flat(scores: npt.NDArray[Any], pairs: Sequence[tuple[str, str]]) -> None:
    if len(scores) < _ENOUGH_PAIRS or all(pair == pairs[0] for pair in pairs):
        return
    rows = scores.reshape(len(scores), -1)
    largest = float(np.abs(rows).max())
    if float(np.ptp(rows, axis=0).max()) <= FLAT * largest:
        logger.warning(
            "The model gives all %d pairs practically the same score (%s): it has collapsed, was "
            "not trained, or its activation is saturated. A lower learning rate or a longer "
            "warm-up helps against collapse, the activation Identity against saturation.",
            len(scores),
            rows[0].tolist() if rows.shape[1] > 1 else float(rows[0, 0]),
        )


def score_pairs(
    model: PairScorer,
    pairs: Sequence[tuple[str, str]],
    name_pair: Callable[[int], str],
    *,
    batch_size: int,
    show_progress_bar: bool | None,
    prompt_name: str | None = None,
) -> npt.NDArray[np.float64]:
    """As :func:`predict_pairs`, for models with one score per pair: shape (pairs,), float64.

    Raises:
        InputError: The model has several labels.
    """
    scores = predict_pairs(
        model,
        pairs,
        name_pair,
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
        prompt_name=prompt_name,
    )
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim != 1:
        raise InputError(
            f"The model gives {scores.shape[1]} scores per pair; one is needed here. Use a model "
            "with num_labels=1."
        )
    return scores.astype(np.float64)
