"""nDCG of many queries at once, for loops that evaluate the same lists again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["mean_ndcg", "ndcg_cutoff", "pad"]

_Floats = npt.NDArray[np.float64]


def ndcg_cutoff(measure: str) -> int | None:
    """The k of a plain ``nDCG@k``; None for every other measure."""
    match = re.fullmatch(r"ndcg@([1-9]\d*)", measure.strip(), flags=re.IGNORECASE)
    return int(match.group(1)) if match else None


def pad(rows: Sequence[_Floats], value: float) -> _Floats:
    """Rows of unequal length as one matrix, shape (rows, longest), filled up at the right."""
    width = max((len(row) for row in rows), default=0)
    matrix = np.full((len(rows), width), value, dtype=np.float64)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


def mean_ndcg(gains: _Floats, ideal: _Floats, cutoff: int) -> float:
    """Mean nDCG@cutoff with linear gains, as ``trec_eval`` defines it.

    Args:
        gains: Grades of the documents in ranked order, shape (queries, longest list), 0 where a
            list has ended.
        ideal: All positive grades of each query in any order, shape (queries, most judgements),
            filled up with 0; every row has at least one.
        cutoff: How many ranks count.
    """
    best = -np.sort(-ideal, axis=1)
    return float(np.mean(_dcg(gains, cutoff) / _dcg(best, cutoff)))


def _dcg(gains: _Floats, cutoff: int) -> _Floats:
    top = gains[:, :cutoff]
    total: _Floats = top @ (1.0 / np.log2(np.arange(2, top.shape[1] + 2)))
    return total
