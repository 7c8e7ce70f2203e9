"""In which batches many inputs go through a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["token_batches"]


def token_batches(
    lengths: NDArray[np.int64], token_budget: int, max_pairs: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Indices of inputs, longest first, in batches of at most ``token_budget`` tokens.

    Sorting by length makes neighbours nearly equal, so hardly anything is padded; the longest
    come first, so that a lack of memory shows at once and the progress bar only speeds up.
    A single input longer than the budget is a batch of its own.

    Args:
        lengths: ``(P,)`` tokens per input.
        token_budget: Most tokens in a batch.
        max_pairs: Most inputs in a batch; None for no limit.
    """
    order = np.argsort(-lengths, kind="stable")
    begin = tokens = 0
    for end, i in enumerate(order):
        full = max_pairs is not None and end - begin >= max_pairs
        if end > begin and (tokens + lengths[i] > token_budget or full):
            yield order[begin:end]
            begin, tokens = end, 0
        tokens += int(lengths[i])
    if begin < len(order):
        yield order[begin:]
