"""Where the tokens of a packed batch lie while attention runs over them.

Everything but attention treats tokens alike, so pairs can lie end to end. Attention works on
one pair at a time; doing that pair by pair would be slow, padding all pairs to the longest
would be wasteful. So pairs are sorted by length and nearly equal ones share a *segment*: a block
of ``rows`` pairs, each padded to the segment's ``width``. The block's slots are contiguous, so
attention sees it as a plain ``(rows, width, …)`` view, without copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankwright.engine.pack import starts

__all__ = ["Layout", "Segment", "make_layout"]

SLACK = 16
"""A pair joins a segment if that pads at most ``width // SLACK`` slots …"""
MIN_SLACK = 7
"""… or this many: few, larger attention calls are worth a few padded slots."""
TOTAL_STEP = 128
"""On a CPU the number of slots is rounded up to a multiple of this …"""
ROWS_STEP = 16
"""… and the number of first tokens to a multiple of this: see `Rounding`."""


@dataclass(frozen=True)
class Rounding:
    """Whether sizes are rounded up to a few round ones.

    oneDNN, which multiplies matrices on CPUs, generates code for every new shape, which takes
    longer than a small product itself, and keeps a limited number of them. With round sizes the
    same shapes come again and again. Other devices do not need it.
    """

    on: bool

    def width(self, longest: int) -> int:
        """Slots per row for pairs of at most this many tokens: a twelfth of padding at most."""
        if not self.on:
            return longest
        step = 8 if longest <= 96 else 16 if longest <= 256 else 32
        return -(-longest // step) * step

    def up(self, count: int, step: int) -> int:
        """``count``, rounded up to a multiple of ``step``."""
        return -(-count // step) * step if self.on else count


@dataclass(frozen=True)
class Segment:
    """``rows`` pairs of ``width`` slots each, from slot ``start`` on.

    ``lengths`` is ``(rows,)`` int64 tokens per row, or None where every row is full.
    """

    start: int
    rows: int
    width: int
    lengths: Tensor | None

    @property
    def stop(self) -> int:
        """First slot after this segment."""
        return self.start + self.rows * self.width


@dataclass(frozen=True)
class Layout:
    """The plan for one packed batch of P pairs, T tokens, S slots.

    Attributes:
        source: ``(S,)`` int64, the token in each slot; padding slots repeat token 0.
        padding: ``(S,)`` bool, True for padding slots; None where there are none.
        first: ``(R,)`` int64, R >= P: the slot of each pair's first token, in sorted order, then
            slot 0 again and again.
        restore: ``(P,)`` int64, so that ``sorted_rows[restore]`` is in the batch's order.
        segments: Blocks of pairs, longest first. Slots after the last one are padding.
    """

    source: Tensor
    padding: Tensor | None
    first: Tensor
    restore: Tensor
    segments: tuple[Segment, ...]

    def to(self, device: torch.device) -> Layout:
        """The same plan with its index tensors on ``device``."""
        if device.type == "cpu":
            return self
        return Layout(
            self.source.to(device),
            None if self.padding is None else self.padding.to(device),
            self.first.to(device),
            self.restore.to(device),
            tuple(
                Segment(
                    s.start, s.rows, s.width, None if s.lengths is None else s.lengths.to(device)
                )
                for s in self.segments
            ),
        )


def make_layout(lengths: NDArray[np.int64], device: str = "cpu") -> Layout:
    """Plans the segments for pairs of these lengths; every length is at least 1.

    Args:
        lengths: ``(P,)`` tokens per pair.
        device: Type of the device that will execute the plan; sizes are rounded for CPUs.
    """
    rounding = Rounding(device == "cpu")
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    segments: list[Segment] = []
    slots = begin = 0
    while begin < len(ordered):
        width = rounding.width(int(ordered[begin]))
        floor = min(int(ordered[begin]), width - max(MIN_SLACK, width // SLACK))
        end = begin + int(np.searchsorted(-ordered[begin:], -floor, side="right"))
        here = ordered[begin:end]
        # A segment whose rows are all full needs no padding, hence no mask.
        rows = None if here[-1] == width else torch.from_numpy(here.copy())
        segments.append(Segment(slots, len(here), width, rows))
        slots += len(here) * width
        begin = end

    widths = np.concatenate([np.full(s.rows, s.width) for s in segments])
    row_start = starts(widths)
    offset = np.arange(slots) - np.repeat(row_start, widths)
    is_padding = np.ones(rounding.up(slots, TOTAL_STEP), bool)
    is_padding[:slots] = offset >= np.repeat(ordered, widths)
    source = np.zeros(len(is_padding), np.int64)
    source[:slots] = np.repeat(starts(lengths)[order], widths) + offset
    source[is_padding] = 0
    first = np.zeros(rounding.up(len(order), ROWS_STEP), np.int64)
    first[: len(order)] = row_start
    restore = np.empty(len(order), np.int64)
    restore[order] = np.arange(len(order))
    return Layout(
        torch.from_numpy(source),
        torch.from_numpy(is_padding) if is_padding.any() else None,
        torch.from_numpy(first),
        torch.from_numpy(restore),
        tuple(segments),
    )
