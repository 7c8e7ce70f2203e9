"""Where the tokens of a packed batch lie while attention runs over them.

Everything but attention treats tokens alike, so pairs can lie end to end. Attention works on
one pair at a time; doing that pair by pair would be slow, padding all pairs to the longest
would be wasteful. So pairs are sorted by length and nearly equal ones share a *segment*: a block
of ``rows`` pairs, each padded to the segment's ``width``. The block's slots are contiguous, so
attention sees it as a plain ``(rows, width, …)`` view, without copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankwright.engine.pack import starts
from rankwright.engine.prepacked import prepacks

__all__ = ["Fit", "Layout", "Segment", "fit_for", "make_layout"]

SLACK = 16
"""A pair joins a segment if that pads at most ``width // SLACK`` slots …"""
MIN_SLACK = 7
"""… or this many: few, larger attention calls are worth a few padded slots."""
TOTAL_STEP = 128
"""Where the number of slots is rounded, it is rounded up to a multiple of this …"""
ROWS_STEP = 16
"""… and the number of first tokens to a multiple of this: see `Fit`."""
SEGMENT_COST = 6
"""What an attention call costs on a CPU beside its work, in slots."""
TRAINED_SEGMENT_COST = 32
"""The same in training: dropout and the backward pass make it some thirty small operations."""


@dataclass(frozen=True)
class Fit:
    """How closely a layout fits its pairs.

    oneDNN generates code for every new shape, which takes longer than a small product itself, and
    keeps a limited number of them. With round sizes the same shapes come again and again. MKL,
    which makes float32 products on x86, and GPUs do not need that.

    Attributes:
        round_widths: Segments have round widths: a twelfth of padding at most.
        round_totals: The numbers of slots and of first tokens are round.
        tight: Pairs share a segment only where that is cheaper than a segment more, at this many
            slots for one; None for segments that pad little.
    """

    round_widths: bool = False
    round_totals: bool = False
    tight: int | None = None

    def width(self, longest: int) -> int:
        """Slots per row for pairs of at most this many tokens."""
        if not self.round_widths:
            return longest
        step = 8 if longest <= 96 else 16 if longest <= 256 else 32
        return -(-longest // step) * step

    def up(self, count: int, step: int) -> int:
        """``count``, rounded up to a multiple of ``step``."""
        return -(-count // step) * step if self.round_totals else count


def fit_for(device: str, dtype: torch.dtype, training: bool = False) -> Fit:
    """The fit for a forward pass that computes in ``dtype`` on this type of device.

    In training it does not depend on whether gradients are wanted: a step in two passes draws the
    same dropout in both.
    """
    if device != "cpu":
        return Fit()
    mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if dtype != torch.float32 or not mkl:
        return Fit(round_widths=True, round_totals=True)
    if training:
        return Fit(tight=TRAINED_SEGMENT_COST)
    # Attention stays with MKL where linear layers go to oneDNN.
    generated = prepacks(dtype) and not torch.is_grad_enabled()
    return Fit(round_totals=generated, tight=SEGMENT_COST)


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

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``(P,)`` first slots and lengths of the pairs, in sorted order."""
        begins = [s.start + s.width * np.arange(s.rows) for s in self.segments]
        lengths = [
            np.full(s.rows, s.width) if s.lengths is None else s.lengths.numpy()
            for s in self.segments
        ]
        return np.concatenate(begins), np.concatenate(lengths)

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


def make_layout(lengths: NDArray[np.int64], fit: Fit | None = None) -> Layout:
    """Plans the segments for pairs of these lengths; every length is at least 1.

    Args:
        lengths: ``(P,)`` tokens per pair.
        fit: How closely; without rounding, and with few segments, when None.
    """
    fit = fit or Fit()
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    segments: list[Segment] = []
    slots = begin = 0
    for end in _loose(ordered, fit) if fit.tight is None else _tight(ordered, fit.tight):
        here = ordered[begin:end]
        width = fit.width(int(here[0]))
        # A segment whose rows are all full needs no padding, hence no mask.
        rows = None if here[-1] == width else torch.from_numpy(here.copy())
        segments.append(Segment(slots, len(here), width, rows))
        slots += len(here) * width
        begin = end

    widths = np.concatenate([np.full(s.rows, s.width) for s in segments])
    row_start = starts(widths)
    offset = np.arange(slots) - np.repeat(row_start, widths)
    is_padding = np.ones(fit.up(slots, TOTAL_STEP), bool)
    is_padding[:slots] = offset >= np.repeat(ordered, widths)
    source = np.zeros(len(is_padding), np.int64)
    source[:slots] = np.repeat(starts(lengths)[order], widths) + offset
    source[is_padding] = 0
    first = np.zeros(fit.up(len(order), ROWS_STEP), np.int64)
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


def _loose(ordered: NDArray[np.int64], fit: Fit) -> Iterator[int]:
    """Where segments end: each takes in what pads little enough."""
    begin = 0
    while begin < len(ordered):
        longest = int(ordered[begin])
        width = fit.width(longest)
        floor = min(longest, width - max(MIN_SLACK, width // SLACK))
        begin += int(np.searchsorted(-ordered[begin:], -floor, side="right"))
        yield begin


def _tight(ordered: NDArray[np.int64], cost: int) -> Iterator[int]:
    """Where segments end, so that slots and the cost of segments add up to the least.

    Dynamic programming over the distinct lengths, from the shortest to the longest.
    """
    widths = ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] + 1))]
    ends = np.searchsorted(-ordered, -widths, side="right")
    begins = np.concatenate(([0], ends[:-1]))
    least = np.zeros(len(widths) + 1, np.int64)
    follows = np.zeros(len(widths), np.int64)
    for i in range(len(widths) - 1, -1, -1):
        costs = widths[i] * (ends[i:] - begins[i]) + cost + least[i + 1 :]
        chosen = int(costs.argmin())
        least[i], follows[i] = costs[chosen], i + chosen + 1
    i = 0
    while i < len(widths):
        i = int(follows[i])
        yield int(ends[i - 1])
