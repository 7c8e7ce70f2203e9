"""Which candidates become negatives: pure array arithmetic, no model, no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from rankwright.errors import InputError, ScoreError
from rankwright.mining.arrays import BoolArray, FloatArray, IntArray
from rankwright.mining.options import MiningOptions, SamplingStrategy

__all__ = [
    "Candidates",
    "MiningOptions",
    "Positives",
    "SamplingStrategy",
    "Selection",
    "select_negatives",
]

Array = TypeVar("Array", IntArray, FloatArray)


@dataclass(frozen=True)
class Candidates:
    """Ranked documents of Q queries.

    Attributes:
        indices: ``(Q, k)`` int64 document numbers; -1 where there is no candidate.
        scores: ``(Q, k)`` float32, in any order; ignored where the index is -1.
    """

    indices: IntArray
    scores: FloatArray


@dataclass(frozen=True)
class Positives:
    """N (query, relevant document) pairs, in any order.

    Attributes:
        rows: ``(N,)`` int64, which query.
        documents: ``(N,)`` int64, which document.
        scores: ``(N,)`` float32 from the model that scored the candidates; only margins need
            them.
    """

    rows: IntArray
    documents: IntArray
    scores: FloatArray | None = None


@dataclass(frozen=True)
class Selection:
    """Negatives of Q queries.

    Attributes:
        indices: ``(Q, num_negatives)`` int64 document numbers, highest score first; -1 where
            none was left.
        scores: ``(Q, num_negatives)`` float32; -inf where none was left.
        considered: Candidates that were no positives.
        skipped: How many of those each option removed, in the order of removal.
        positives: Candidates left out because they are (or read the same as) a positive.
    """

    indices: IntArray
    scores: FloatArray
    considered: int
    skipped: dict[str, int] = field(default_factory=dict)
    positives: int = 0


def select_negatives(
    candidates: Candidates,
    positives: Positives,
    options: MiningOptions,
    *,
    range_max: int | None = None,
    include_positives: bool = False,
    text_ids: IntArray | None = None,
) -> Selection:
    """Chooses up to ``num_negatives`` negatives per query.

    Positives go first, then ``absolute_margin``, ``relative_margin``, ``max_score`` and
    ``min_score`` remove candidates, the rest is ordered by score (ties stay in the order given),
    ranks ``range_min`` up to ``range_max`` of it are kept, and of these the best or a random
    choice.

    A margin is measured from the *lowest* positive score of the query: a candidate is removed
    when ``score + absolute_margin > positive``, or when
    ``score > positive - |positive| * relative_margin`` (TopK-PercPos of NV-Retriever,
    arXiv:2407.15831, made right for negative scores). A query without positives has no margin.

    Args:
        candidates: Ranked documents of Q queries.
        positives: Relevant pairs.
        options: What to keep.
        range_max: Where ``options.range_max`` is None; None for all.
        include_positives: Leave positives among the candidates.
        text_ids: ``(N,)`` for each document, a number that documents of the same text share;
            such twins of a positive are left out as well.

    Raises:
        InputError: A margin is set and the positives carry no scores.
        ScoreError: A score is NaN or infinite.
    """
    there = candidates.indices >= 0
    scores = np.where(there, candidates.scores, np.float32(-np.inf)).astype(np.float32)
    if not np.isfinite(scores[there]).all():
        raise ScoreError(
            "The first stage or the cross-encoder gave NaN or infinity for "
            f"{int((~np.isfinite(scores[there])).sum())} candidates. Score them in float32."
        )
    masked = 0
    if not include_positives:
        mask = there & _is_positive(candidates.indices, positives, text_ids)
        masked = int(mask.sum())
        scores[mask] = -np.inf
    considered = int(np.isfinite(scores).sum())
    skipped: dict[str, int] = {}
    for name, limits in _filters(scores, positives, options):
        skipped[name] = int(limits.sum())
        scores[limits] = -np.inf
    end = options.range_max if options.range_max is not None else range_max
    order = np.argsort(-scores, axis=1, kind="stable")[:, options.range_min : end]
    indices = np.take_along_axis(candidates.indices, order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    indices = np.where(np.isfinite(scores), indices, -1)
    picked = _pick(scores, options)
    return Selection(
        indices=_pad(np.take_along_axis(indices, picked, axis=1), options.num_negatives, -1),
        scores=_pad(np.take_along_axis(scores, picked, axis=1), options.num_negatives, -np.inf),
        considered=considered,
        skipped=skipped,
        positives=masked,
    )


def _is_positive(indices: IntArray, positives: Positives, text_ids: IntArray | None) -> BoolArray:
    documents = positives.documents
    if text_ids is not None:
        documents = text_ids[documents]
        indices = np.where(indices >= 0, text_ids[indices], -1)
    # One number per (query, document), so that all queries are looked up in one sorted array.
    span = 1 + int(max(documents.max(initial=0), indices.max(initial=0)))
    wanted = np.sort(positives.rows * span + documents)
    if len(wanted) == 0:
        return np.zeros(indices.shape, dtype=np.bool_)
    keys = np.arange(len(indices))[:, None] * span + indices
    places = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    found: BoolArray = (wanted[places] == keys) & (indices >= 0)
    return found


def _filters(
    scores: FloatArray, positives: Positives, options: MiningOptions
) -> list[tuple[str, BoolArray]]:
    """What each option removes; a candidate is counted once, under the first that removes it."""
    live = np.isfinite(scores)
    tests: list[tuple[str, BoolArray]] = []
    if options.absolute_margin is not None or options.relative_margin is not None:
        lowest = _lowest_positive(len(scores), positives)[:, None]
        if options.absolute_margin is not None:
            tests.append(("absolute_margin", scores + options.absolute_margin > lowest))
        if options.relative_margin is not None:
            known = np.where(np.isfinite(lowest), lowest, np.float32(0))
            limit = lowest - np.abs(known) * options.relative_margin
            tests.append(("relative_margin", scores > limit))
    if options.max_score is not None:
        tests.append(("max_score", scores > options.max_score))
    if options.min_score is not None:
        tests.append(("min_score", scores < options.min_score))
    removed = []
    for name, test in tests:
        removed.append((name, test & live))
        live = live & ~test
    return removed


def _lowest_positive(num_queries: int, positives: Positives) -> FloatArray:
    if positives.scores is None:
        raise InputError(
            "A margin compares candidates with positives, and the positives carry no scores. "
            "Pass their scores, or use max_score instead of a margin."
        )
    if not np.isfinite(positives.scores).all():
        raise ScoreError("The score of a positive is NaN or infinite. Score it in float32.")
    lowest = np.full(num_queries, np.inf, dtype=np.float32)
    np.minimum.at(lowest, positives.rows, positives.scores)
    return lowest


def _pick(scores: FloatArray, options: MiningOptions) -> IntArray:
    rows, width = scores.shape
    count = min(options.num_negatives, width)
    if options.sampling_strategy == "top":
        return np.broadcast_to(np.arange(count), (rows, count))
    keys = np.random.default_rng(options.seed).random((rows, width))
    keys[~np.isfinite(scores)] = 2.0  # after every real candidate
    # Positions are in order of score, so sorted positions keep the highest score first.
    return np.sort(np.argsort(keys, axis=1, kind="stable")[:, :count], axis=1)


def _pad(array: Array, width: int, value: float) -> Array:
    missing = np.full((len(array), width - array.shape[1]), value, dtype=array.dtype)
    return cast(Array, np.concatenate([array, missing], axis=1))
