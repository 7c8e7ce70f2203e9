"""How many operations scoring needs: the yardstick for the share of the machine's peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Shape", "forward_flops"]


@dataclass(frozen=True)
class Shape:
    """An encoder's size; ``inner`` is the width of the feed-forward layer."""

    layers: int
    hidden: int
    inner: int


def forward_flops(lengths: Sequence[int], shape: Shape, *, first_only: bool) -> float:
    """Operations of one forward pass, two per product, without any padding.

    Linear layers cost ``2 * parameters`` per token; attention costs ``4 * hidden * n`` per token
    of a pair of n tokens (scores and weighted sum). Everything else is left out.

    Args:
        lengths: Tokens per pair.
        shape: The encoder.
        first_only: Count the last layer as the head needs it: keys and values of all tokens, the
            rest for the first token of each pair.
    """
    tokens, squares, count = sum(lengths), sum(n * n for n in lengths), len(lengths)
    h, f = shape.hidden, shape.inner
    linear = 2.0 * (4 * h * h + 2 * h * f)
    whole = tokens * linear + 4.0 * h * squares
    if not first_only:
        return shape.layers * whole + count * 2.0 * h * h
    last = tokens * 2.0 * 2 * h * h + count * 2.0 * (2 * h * h + 2 * h * f) + 4.0 * h * tokens
    return (shape.layers - 1) * whole + last + count * 2.0 * h * h  # and the pooler
