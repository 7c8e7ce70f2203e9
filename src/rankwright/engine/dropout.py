"""Dropout without the price of PyTorch's on a CPU.

``bernoulli_`` draws one number per element, and a product of a bfloat16 tensor with a boolean one
converts element by element; together they can take longer than the layer they follow. Here one
random byte decides each element, eight of them come from one step of a fast generator, and
dropping is a bitwise *and*. The generator is seeded by PyTorch's own, so the masks follow from
PyTorch's random state, and training that is resumed draws the same ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["apply_mask", "draw_mask", "draw_threshold", "dropout"]

_INTEGERS = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def draw_threshold(p: float) -> tuple[int, int]:
    """A seed from PyTorch's random state, and the number below which a random byte drops.

    A byte knows only multiples of 1/256, so the threshold itself is drawn, once per call, between
    the two nearest multiples such that every element's probability is exactly ``p``.
    """
    seed, fraction = torch.randint(2**31 - 1, (2,)).tolist()
    low = int(p * 256)
    return seed, low + (fraction / (2**31 - 1) < p * 256 - low)


def draw_mask(shape: torch.Size | tuple[int, ...], p: float) -> Tensor:
    """A bool tensor on the CPU; each element is False with probability ``p``."""
    seed, threshold = draw_threshold(p)
    count = int(np.prod(shape, dtype=np.int64))
    words = np.random.SFC64(seed).random_raw(-(-count // 8))
    random = torch.from_numpy(np.atleast_1d(words).view(np.uint8)[:count])
    return random.ge(threshold).view(shape)


def apply_mask(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    """``x`` where ``keep``, else 0, times ``scale``; a new tensor."""
    integer = _INTEGERS[x.dtype]
    # -1 has all bits set: it keeps a number, 0 clears it.
    bits = keep.to(integer).neg_()
    return (x.view(integer) & bits).view(x.dtype).mul_(scale)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return apply_mask(x, keep, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return apply_mask(gradient, keep, ctx.scale), None, None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout (Srivastava et al., 2014): each element is zeroed with probability ``p``."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or p >= 1.0:
        return F.dropout(x, p, training=True)
    keep = draw_mask(x.shape, p)
    result: Tensor = _Dropout.apply(x, keep, 1.0 / (1.0 - p))  # type: ignore[no-untyped-call]
    return result
