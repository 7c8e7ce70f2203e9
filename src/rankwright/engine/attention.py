"""Self-attention over the segments of a layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rankwright.engine.compiled_training import attend_compiled, attends_compiled
from rankwright.engine.layout import Layout, Segment
from rankwright.engine.trained_attention import TrainedHeads, trained_attention

__all__ = ["Heads", "attend", "segment_masks"]


@dataclass(frozen=True)
class Heads:
    """Attention of one layer.

    Attributes:
        count: Number of heads H.
        size: Width D of each head.
        dropout: Probability of dropping an attention weight in training.
        window: Tokens farther apart than this are hidden from each other; None for no limit.
    """

    count: int
    size: int
    dropout: float = 0.0
    window: int | None = None

    def trained(self, *, first_only: bool) -> TrainedHeads:
        """The same for training."""
        return TrainedHeads(self.count, self.size, self.dropout, first_only)


def segment_masks(layout: Layout, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
    """One additive mask per segment, ``(rows or 1, 1, width or 1, width)``; None where all is seen.

    Hidden positions get the type's lowest value, not minus infinity, so that a row can never
    become NaN.
    """
    masks: list[Tensor | None] = []
    lowest = torch.finfo(dtype).min
    for segment in layout.segments:
        hidden: Tensor | None = None
        device = layout.source.device
        position = torch.arange(segment.width, device=device)
        if segment.lengths is not None:
            hidden = (position >= segment.lengths[:, None])[:, None, None, :]
        if window is not None and segment.width > window + 1:
            far = ((position[:, None] - position).abs() > window)[None, None]
            hidden = far if hidden is None else hidden | far
        if hidden is None:
            masks.append(None)
        else:
            masks.append(
                torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, lowest)
            )
    return masks


def attend(
    qkv: Tensor,
    heads: Heads,
    layout: Layout,
    masks: list[Tensor | None],
    *,
    training: bool,
    first_only: bool,
    rotary: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention of every token to the tokens of its own pair.

    Args:
        qkv: ``(S, 3·H·D)`` queries, keys and values, in that order.
        heads: Number, size, dropout and window.
        layout: Where the pairs lie.
        masks: From `segment_masks`.
        training: Whether to drop attention weights.
        first_only: Only the first token of each pair asks.
        rotary: Cosines and sines ``(longest width, D)`` by position (RoPE); None without.

    Returns:
        ``(S, H·D)``, or ``(R, H·D)`` for the layout's ``first`` with ``first_only``.
    """
    if training and qkv.device.type == "cpu" and rotary is None:
        trained = heads.trained(first_only=first_only)
        if heads.window is None and attends_compiled(qkv.dtype, qkv.device, trained):
            return attend_compiled(qkv, layout, trained)
        return trained_attention(qkv, layout, masks, trained)
    outputs = []
    # One split, not a slice per segment: the gradient of a slice is as large as the whole.
    sizes = [segment.rows * segment.width for segment in layout.segments]
    blocks = torch.split(qkv, [*sizes, len(qkv) - sum(sizes)])
    for segment, block, mask in zip(layout.segments, blocks, masks, strict=False):
        q, k, v = _views(block, segment, heads)
        if rotary is not None:
            cos, sin = rotary[0][: segment.width], rotary[1][: segment.width]
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if first_only:
            q = q[:, :, :1]
            mask = mask[:, :, :1] if mask is not None and mask.shape[2] > 1 else mask
        p = heads.dropout if training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        outputs.append(out.transpose(1, 2).reshape(-1, heads.count * heads.size))
    wanted = len(layout.first) if first_only else len(layout.source)
    rest = wanted - sum(len(out) for out in outputs)
    if rest:
        outputs.append(qkv.new_zeros(rest, heads.count * heads.size))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _views(block: Tensor, segment: Segment, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    block = block.view(segment.rows, segment.width, 3, heads.count, heads.size)
    q, k, v = block.permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021), computed in float32."""
    wide = x.float()
    a, b = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-b, a), dim=-1) * sin).to(x.dtype)
