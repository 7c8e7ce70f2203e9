"""Attention for training on a CPU, forward and backward written out.

PyTorch's fused CPU attention has no dropout; its composed one leaves a trail of small operations
per segment for the backward pass. Here a layer is one node of the graph: queries, keys and values
are made contiguous once, and gradients go straight to their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.dropout import draw_mask
from rankwright.engine.layout import Layout, Segment

__all__ = ["TrainedHeads", "trained_attention"]


@dataclass(frozen=True)
class TrainedHeads:
    """Number H and width D of heads, dropout, and whether only first tokens ask."""

    count: int
    size: int
    dropout: float
    first_only: bool

    @property
    def scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return float(self.size**-0.5)

    @property
    def kept(self) -> float:
        """What weights that are not dropped are multiplied by, inside the next product."""
        return 1.0 / (1.0 - self.dropout)


def _apart(block: Tensor, segment: Segment, heads: TrainedHeads) -> Tensor:
    """``(rows·width, 3·H·D)`` to contiguous ``(3, rows·H, width, D)``."""
    shape = (segment.rows, segment.width, 3, heads.count, heads.size)
    parts = block.view(shape).permute(2, 0, 3, 1, 4).contiguous()
    return parts.view(3, segment.rows * heads.count, segment.width, heads.size)


def _times(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Batched product, scaled inside the product."""
    return torch.baddbmm(a.new_empty(1), a, b, beta=0.0, alpha=scale)


def _draw(layout: Layout, heads: TrainedHeads) -> Iterator[Tensor]:
    """Which weights of each segment are kept, flat, from one draw; nothing without dropout."""
    if heads.dropout == 0.0:
        return iter(())
    sizes = [
        s.rows * heads.count * (1 if heads.first_only else s.width) * s.width
        for s in layout.segments
    ]
    return iter(torch.split(draw_mask((sum(sizes),), heads.dropout), sizes))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, layout: Layout, masks: list[Tensor | None], heads: TrainedHeads
    ) -> Tensor:
        hidden = heads.count * heads.size
        out = qkv.new_empty(len(layout.first if heads.first_only else layout.source), hidden)
        kept: list[Tensor | None] = []
        keeps = _draw(layout, heads)
        at = 0
        for segment, mask in zip(layout.segments, masks, strict=True):
            q, k, v = _apart(qkv[segment.start : segment.stop], segment, heads)
            asking = 1 if heads.first_only else segment.width
            q = q[:, :asking]
            weights = _times(q, k.transpose(1, 2), heads.scale)
            if mask is not None:
                by_row = weights.view(segment.rows, heads.count, asking, segment.width)
                by_row += mask[:, :, :asking] if mask.shape[2] > 1 else mask
            weights = weights.softmax(-1)
            keep = next(keeps, None)
            dropped = weights
            if keep is not None:
                keep = keep.view(weights.shape)
                dropped = weights * keep.to(weights.dtype)
            seen = _times(dropped, v, heads.kept)
            seen = seen.view(segment.rows, heads.count, asking, heads.size)
            rows = segment.rows * asking
            place = out[at : at + rows].view(segment.rows, asking, heads.count, heads.size)
            place.copy_(seen.transpose(1, 2))
            at += rows
            kept += [q, k, v, weights, keep]
        out[at:].zero_()
        ctx.save_for_backward(*kept)
        ctx.layout, ctx.heads, ctx.shape = layout, heads, qkv.shape
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        heads: TrainedHeads = ctx.heads
        saved = ctx.saved_tensors
        result = gradient.new_empty(ctx.shape)
        at = 0
        for number, segment in enumerate(ctx.layout.segments):
            q, k, v, weights, keep = saved[5 * number : 5 * number + 5]
            asking = q.shape[1]
            shape = (segment.rows, asking, heads.count, heads.size)
            rows = segment.rows * asking
            seen = gradient[at : at + rows].view(shape).transpose(1, 2).reshape(q.shape)
            at += rows
            dropped = weights
            up = _times(seen, v.transpose(1, 2), heads.kept)
            if keep is not None:
                factors = keep.to(weights.dtype)
                dropped = weights * factors
                up.mul_(factors)
            up = torch._softmax_backward_data(up, weights, -1, weights.dtype)
            block = result[segment.start : segment.stop]
            place = block.view(segment.rows, segment.width, 3, heads.count, heads.size)
            place = place.permute(2, 0, 3, 1, 4)
            whole = (segment.rows, heads.count, segment.width, heads.size)
            if heads.first_only:
                place[0].zero_()
            asked = place[0][:, :, :asking]
            asked.copy_(_times(up, k, heads.scale).view(asked.shape))
            place[1].copy_(_times(up.transpose(1, 2), q, heads.scale).view(whole))
            place[2].copy_(_times(dropped.transpose(1, 2), seen, heads.kept).view(whole))
        result[ctx.layout.segments[-1].stop :].zero_()
        return result, None, None, None


def trained_attention(
    qkv: Tensor, layout: Layout, masks: list[Tensor | None], heads: TrainedHeads
) -> Tensor:
    """Attention with dropout within every pair; arguments as in `attend`.

    Returns:
        ``(S, H·D)``, or ``(R, H·D)`` where only first tokens ask.
    """
    result: Tensor = _Attention.apply(qkv, layout, masks, heads)  # type: ignore[no-untyped-call]
    return result
