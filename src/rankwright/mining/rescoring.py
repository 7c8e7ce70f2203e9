"""A cross-encoder's scores in place of the first stage's."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from rankwright.errors import InputError, InputTypeError, ScoreError
from rankwright.mining.arrays import FloatArray, IntArray
from rankwright.mining.negatives import Candidates, Positives
from rankwright.mining.progress import bars_wanted

__all__ = ["PairScorer", "RescoreOptions", "rescore"]

logger = logging.getLogger(__name__)

# Pairs handed over at a time; the cross-encoder sorts each lot by length.
LOT = 131_072


class PairScorer(Protocol):
    """What a cross-encoder has to have."""

    def predict(self, pairs: Any, /) -> Any:
        """``(N,)`` scores of a list of N (query, document) pairs."""


@dataclass(frozen=True)
class RescoreOptions:
    """Batch size, pool and progress bar of `rescore`."""

    batch_size: int = 32
    pool: Any = None
    show_progress_bar: bool | None = None


def rescore(
    cross_encoder: PairScorer,
    queries: Sequence[str],
    documents: Sequence[str],
    candidates: Candidates,
    positives: Positives,
    options: RescoreOptions,
) -> tuple[Candidates, Positives]:
    """The same candidates and positives with the scores of ``cross_encoder``.

    Every distinct (query, document) pair is scored once, all queries' pairs together and sorted
    by length. Places without a candidate are not scored.

    Raises:
        InputTypeError: ``cross_encoder`` has no ``predict``.
        InputError: It gives more than one score per pair.
        ScoreError: A score is NaN or infinite.
    """
    if not callable(getattr(cross_encoder, "predict", None)):
        raise InputTypeError(
            f"cross_encoder is a {type(cross_encoder).__name__} without predict. "
            "Pass a CrossEncoder."
        )
    there = candidates.indices >= 0
    rows, _ = np.nonzero(there)
    size = len(documents)
    keys = np.concatenate(
        [rows * size + candidates.indices[there], positives.rows * size + positives.documents]
    )
    unique, inverse = np.unique(keys, return_inverse=True)
    values = _score(cross_encoder, queries, documents, unique, options)[inverse]
    scores = np.full(candidates.scores.shape, -np.inf, dtype=np.float32)
    scores[there] = values[: len(rows)]
    return (
        Candidates(candidates.indices, scores),
        Positives(positives.rows, positives.documents, values[len(rows) :]),
    )


def _score(
    cross_encoder: PairScorer,
    queries: Sequence[str],
    documents: Sequence[str],
    keys: IntArray,
    options: RescoreOptions,
) -> FloatArray:
    query_sizes = np.array([len(text) for text in queries])
    document_sizes = np.array([len(text) for text in documents])
    rows, columns = np.divmod(keys, len(documents))
    order = np.argsort(-(query_sizes[rows] + document_sizes[columns]), kind="stable")
    arguments = _arguments(cross_encoder, options)
    scores = np.empty(len(keys), dtype=np.float32)
    starts = range(0, len(order), LOT)
    # One lot has the cross-encoder's own bar, where it has one.
    several = len(starts) > 1 and bars_wanted(options.show_progress_bar, logger)
    for start in tqdm(starts, desc="Rescoring", disable=not several):
        lot = order[start : start + LOT]
        pairs = [
            (queries[row], documents[column])
            for row, column in zip(rows[lot], columns[lot], strict=True)
        ]
        scores[lot] = _checked(cross_encoder.predict(pairs, **arguments), pairs)
    return scores


def _arguments(cross_encoder: PairScorer, options: RescoreOptions) -> dict[str, Any]:
    show = bars_wanted(options.show_progress_bar, logger)
    offered = {"batch_size": options.batch_size, "show_progress_bar": show}
    if options.pool is not None:
        offered["pool"] = options.pool
    known = inspect.signature(cross_encoder.predict).parameters
    return {name: value for name, value in offered.items() if name in known}


def _checked(output: Any, pairs: list[tuple[str, str]]) -> FloatArray:
    if hasattr(output, "detach"):
        output = output.detach().float().cpu().numpy()
    scores = np.asarray(output, dtype=np.float32)
    if scores.shape != (len(pairs),):
        raise InputError(
            f"The cross-encoder returned scores of shape {scores.shape} for {len(pairs)} pairs; "
            f"mining needs one score per pair, ({len(pairs)},). Use a model with num_labels=1."
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ScoreError(
            f"The cross-encoder gave NaN or infinity for {len(bad)} pairs; the first is the query "
            f"{pairs[bad[0]][0][:80]!r}. Load it in float32."
        )
    return scores
