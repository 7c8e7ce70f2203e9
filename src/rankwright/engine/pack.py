"""Tokenised pairs to one `PackedBatch`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankwright.engine.batch import PackedBatch
from rankwright.engine.tokenize import TokenizedPairs

__all__ = ["pack", "starts"]


def starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(P,)`` offset of each pair's first token when pairs lie end to end."""
    return np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)


def pack(
    pairs: TokenizedPairs,
    index: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    labels: Tensor | None = None,
    group_sizes: Tensor | None = None,
) -> PackedBatch:
    """Lays the chosen pairs end to end.

    Args:
        pairs: Tokenised inputs.
        index: Which of them, in this order; all of them when None.
        labels: ``(P,)`` labels of the chosen pairs.
        group_sizes: ``(Q,)`` int64, how many consecutive chosen pairs belong to each query.
    """
    chosen = range(len(pairs)) if index is None else index
    ids = [pairs.input_ids[i] for i in chosen]
    lengths = np.fromiter((len(row) for row in ids), np.int64, len(ids))
    flat = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    positions = np.arange(len(flat)) - np.repeat(starts(lengths), lengths) if ids else flat
    types = None
    if pairs.token_type_ids is not None:
        rows = [pairs.token_type_ids[i] for i in chosen]
        types = torch.from_numpy(np.concatenate(rows) if rows else np.zeros(0, np.int64))
    return PackedBatch(
        input_ids=torch.from_numpy(flat),
        position_ids=torch.from_numpy(positions),
        lengths=torch.from_numpy(lengths),
        token_type_ids=types,
        group_sizes=group_sizes,
        labels=labels,
    )
