"""The written-out backward pass of attention, against finite differences and plain PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankwright.engine.attention import segment_masks
from rankwright.engine.layout import Fit, make_layout
from rankwright.engine.trained_attention import TrainedHeads, trained_attention

LENGTHS = np.array([3, 9, 1, 9, 8])
ROUND = Fit(round_widths=True, round_totals=True)


def run(qkv: torch.Tensor, heads: TrainedHeads, window: int | None = None) -> torch.Tensor:
    layout = make_layout(LENGTHS)  # without rounding: gradcheck looks at every element
    torch.manual_seed(7)
    out = trained_attention(qkv, layout, segment_masks(layout, window, qkv.dtype), heads)
    # What stands in padding slots is never read.
    return out if heads.first_only or layout.padding is None else out[~layout.padding]


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("window", [None, 2])
def test_gradient_against_finite_differences(
    first_only: bool, dropout: float, window: int | None
) -> None:
    heads = TrainedHeads(2, 3, dropout, first_only)
    slots = len(make_layout(LENGTHS).source)
    torch.manual_seed(0)
    qkv = torch.randn(slots, 18, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: run(x, heads, window), (qkv,), fast_mode=True)


def test_values_pair_by_pair() -> None:
    heads = TrainedHeads(2, 3, 0.0, first_only=False)
    layout = make_layout(LENGTHS, ROUND)
    qkv = torch.randn(len(layout.source), 18, dtype=torch.float64)
    found = trained_attention(qkv, layout, segment_masks(layout, None, qkv.dtype), heads)
    for start, length in zip(
        layout.first.tolist(), sorted(LENGTHS.tolist(), reverse=True), strict=False
    ):
        q, k, v = qkv[start : start + length].view(length, 3, 2, 3).permute(1, 2, 0, 3)
        expected = torch.softmax(q @ k.transpose(1, 2) / 3**0.5, -1) @ v
        torch.testing.assert_close(
            found[start : start + length], expected.transpose(0, 1).reshape(length, 6)
        )


def test_dropout_drops_weights_and_keeps_the_mean() -> None:
    heads = TrainedHeads(2, 3, 0.3, first_only=False)
    layout = make_layout(LENGTHS, ROUND)
    masks = segment_masks(layout, None, torch.float64)
    qkv = torch.randn(len(layout.source), 18, dtype=torch.float64)
    torch.manual_seed(0)
    draws = torch.stack([trained_attention(qkv, layout, masks, heads) for _ in range(1500)])
    plain = trained_attention(qkv, layout, masks, TrainedHeads(2, 3, 0.0, first_only=False))
    assert not torch.equal(draws[0], draws[1])
    error = draws.std(0) / 1500**0.5
    assert ((draws.mean(0) - plain).abs() <= 5 * error + 1e-12).all()
