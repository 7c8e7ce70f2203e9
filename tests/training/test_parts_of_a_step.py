"""A step worked through in parts has the gradients of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.engine.batch import PackedBatch
from rankwright.engine.pack import pack
from rankwright.engine.tokenize import TokenizedPairs
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss, LambdaLoss
from rankwright.model import CrossEncoder
from rankwright.training.chunks import share_out
from tests.tiny import tiny_model

MODEL = CrossEncoder.from_transformers(*tiny_model("bert"))


def make_batch(sizes: list[int], labels: list[float], seed: int) -> PackedBatch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 40, sum(sizes))
    ids = [rng.integers(5, 90, n, dtype=np.int64) for n in lengths]
    types = [np.zeros(n, np.int64) for n in lengths]
    return pack(
        TokenizedPairs(ids, types),
        labels=torch.tensor(labels[: sum(sizes)]),
        group_sizes=torch.tensor(sizes),
    )


def gradient(parts: list[tuple[PackedBatch, float]], loss: torch.nn.Module) -> torch.Tensor:
    MODEL.zero_grad()
    for part, share in parts:
        (loss.compute(MODEL(part), part.labels, part.group_sizes) * share).backward()
    return torch.cat([p.grad.flatten() for p in MODEL.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", [GroupSoftmaxLoss, BinaryCrossEntropyLoss])
@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    labels=st.lists(st.sampled_from([0.0, 1.0]), min_size=40, max_size=40),
    budget=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_same_gradient(kind: type, sizes: list, labels: list, budget: int, seed: int) -> None:
    loss = kind(MODEL)
    batch = make_batch(sizes, labels, seed)
    parts = share_out(batch, loss, budget)
    assert sum(part.num_pairs for part, _ in parts) == batch.num_pairs
    assert sum(part.num_tokens for part, _ in parts) == batch.num_tokens
    for part, _ in parts:
        assert part.num_tokens <= budget or len(part.group_sizes) == 1
    expected = gradient([(batch, 1.0)], loss)
    torch.testing.assert_close(gradient(parts, loss), expected, atol=1e-5, rtol=1e-4)


def test_pairs_without_groups_are_shared_out_one_by_one() -> None:
    batch = make_batch([1] * 10, [1.0, 0.0] * 5, 0)
    batch = PackedBatch(**{**batch.__dict__, "group_sizes": None})
    loss = BinaryCrossEntropyLoss(MODEL)
    parts = share_out(batch, loss, 60)
    assert len(parts) > 2
    torch.testing.assert_close(
        gradient(parts, loss), gradient([(batch, 1.0)], loss), atol=1e-6, rtol=1e-4
    )


def test_a_loss_that_cannot_be_taken_apart_stays_whole() -> None:
    batch = make_batch([3, 3], [1.0, 0.0] * 3, 0)
    assert share_out(batch, LambdaLoss(MODEL, k=2), 1) == [(batch, 1.0)]
