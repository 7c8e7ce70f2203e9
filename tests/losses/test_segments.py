from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.losses.segments import (
    from_matrix,
    pad_to_matrix,
    segment_ids,
    segment_log_softmax,
    segment_max,
    segment_mean,
    segment_sum,
)

sizes_of_groups = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def example(sizes: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(sizes), generator=generator, dtype=torch.float64) * 5
    return values, torch.tensor(sizes)


@settings(max_examples=60, deadline=None)
@given(sizes_of_groups, st.integers(0, 99))
def test_every_helper_equals_a_loop_over_groups(sizes: list[int], seed: int) -> None:
    values, lengths = example(sizes, seed)
    groups = values.split(sizes)
    full = [g for g in groups if len(g)]

    assert segment_ids(lengths).tolist() == [i for i, n in enumerate(sizes) for _ in range(n)]
    torch.testing.assert_close(segment_sum(values, lengths), torch.stack([g.sum() for g in groups]))
    means = [g.mean() if len(g) else torch.zeros((), dtype=torch.float64) for g in groups]
    torch.testing.assert_close(segment_mean(values, lengths), torch.stack(means))
    found = segment_max(values, lengths)
    assert [float(m) for m in found] == [float(max(g)) if len(g) else -torch.inf for g in groups]
    expected = torch.cat([g.log_softmax(0) for g in full]) if full else values
    torch.testing.assert_close(segment_log_softmax(values, lengths), expected)
    matrix, mask = pad_to_matrix(values, lengths, fill=7.0)
    assert torch.equal(from_matrix(matrix, lengths), values)
    assert mask.sum(1).tolist() == sizes
    assert (matrix[~mask] == 7.0).all()


@pytest.mark.parametrize("sizes", [[3, 1, 0, 4], [0, 0], [1]])
def test_gradients_equal_finite_differences(sizes: list[int]) -> None:
    values, lengths = example(sizes)
    values.requires_grad_()
    for helper in (segment_sum, segment_mean, segment_log_softmax):
        if values.numel():
            assert torch.autograd.gradcheck(lambda v, h=helper: h(v, lengths), values)


def test_empty_and_single_groups_give_finite_gradients() -> None:
    values = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    segment_log_softmax(values, torch.tensor([0, 1, 0, 2, 0])).sum().backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad[0] == 0.0  # alone in its group: its probability is 1 whatever the score


def test_half_precision_is_computed_in_float32() -> None:
    values = torch.linspace(-9, 9, 64).bfloat16()
    sizes = torch.tensor([64])
    found = segment_log_softmax(values, sizes)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), values.double().log_softmax(0), atol=1e-5, rtol=0)


def test_extreme_scores_do_not_overflow() -> None:
    values = torch.tensor([1e30, -1e30, 0.0, -3e38])
    assert torch.isfinite(segment_log_softmax(values, torch.tensor([3, 1]))).all()
