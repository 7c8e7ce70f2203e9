from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rankwright.errors import InputError
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss
from rankwright.losses.base import Loss
from tests.losses import by_hand

MODEL = SimpleNamespace(num_labels=1)
SIZES = [4, 1, 3, 2]


def example(seed: int, sizes: list[int], graded: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    scores = torch.randn(count, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, 4 if graded else 2, (count,), generator=generator).double()
    return scores, labels, torch.tensor(sizes)


@pytest.mark.parametrize("weight", [None, 1.0, 4.0])
def test_bce_equals_brute_force(weight: float | None) -> None:
    scores, labels, _ = example(0, SIZES)
    labels = labels / 3
    loss = BinaryCrossEntropyLoss(MODEL, pos_weight=weight)
    found = loss(scores, labels)
    assert float(found) == pytest.approx(by_hand.bce(scores, labels, weight or 1.0), rel=1e-9)
    assert float(BinaryCrossEntropyLoss(MODEL, reduction="sum")(scores, labels)) == pytest.approx(
        by_hand.bce(scores, labels) * len(scores), rel=1e-9
    )


def test_bce_takes_a_tensor_as_weight_and_an_activation() -> None:
    scores, labels, _ = example(1, SIZES, graded=False)
    loss = BinaryCrossEntropyLoss(MODEL, nn.Tanh(), pos_weight=torch.tensor(5))
    assert float(loss(scores, labels)) == pytest.approx(
        by_hand.bce(scores.tanh(), labels, 5.0), rel=1e-9
    )
    assert loss.get_config_dict() == {
        "activation_fn": "torch.nn.modules.activation.Tanh",
        "pos_weight": 5.0,
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 99), st.floats(0.1, 3.0))
def test_group_softmax_equals_brute_force(sizes: list[int], seed: int, scale: float) -> None:
    if sum(sizes) == 0:
        return
    scores, labels, lengths = example(seed, sizes)
    found = GroupSoftmaxLoss(MODEL, scale=scale)(scores, labels, lengths)
    expected = by_hand.group_softmax(scores, labels, sizes, scale)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", [BinaryCrossEntropyLoss, GroupSoftmaxLoss])
def test_gradients_equal_finite_differences(kind: type[Loss]) -> None:
    scores, labels, sizes = example(2, [4, 1, 0, 3], graded=False)
    loss = kind(MODEL)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, labels, sizes), scores)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.randoms(use_true_random=False))
def test_order_of_documents_and_groups_does_not_matter(seed: int, random: object) -> None:
    scores, labels, sizes = example(seed, SIZES, graded=False)
    groups = list(zip(scores.split(SIZES), labels.split(SIZES), strict=True))
    random.shuffle(groups)  # type: ignore[attr-defined]
    shuffled = []
    for s, y in groups:
        order = torch.randperm(len(s))
        shuffled.append((s[order], y[order]))
    other_sizes = torch.tensor([len(s) for s, _ in shuffled])
    other_scores = torch.cat([s for s, _ in shuffled])
    other_labels = torch.cat([y for _, y in shuffled])
    for kind in (BinaryCrossEntropyLoss, GroupSoftmaxLoss):
        loss = kind(MODEL)
        torch.testing.assert_close(
            loss(scores, labels, sizes), loss(other_scores, other_labels, other_sizes)
        )


def test_a_longer_group_elsewhere_does_not_change_a_groups_loss() -> None:
    """Groups are padded to the longest one inside; the padding must not show."""
    loss = GroupSoftmaxLoss(MODEL)
    scores, labels = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    alone = loss(scores, labels, torch.tensor([3]))
    with_long = loss(
        torch.cat((scores, torch.randn(50))),
        torch.cat((labels, torch.zeros(50))),
        torch.tensor([3, 50]),
    )
    torch.testing.assert_close(alone, with_long)


def test_queries_without_a_positive_contribute_nothing() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 0.0], requires_grad=True)
    loss = GroupSoftmaxLoss(MODEL)
    labels, sizes = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([2, 2])
    loss(scores, labels, sizes).backward()
    assert scores.grad[2:].eq(0).all()
    assert scores.grad[:2].ne(0).all()
    only = loss(scores[:2], labels[:2], sizes[:1])
    torch.testing.assert_close(loss(scores, labels, sizes), only)
    nothing = loss(scores, torch.zeros(4), sizes)
    assert nothing.item() == 0.0
    nothing.backward()
    assert torch.isfinite(scores.grad).all()


def test_bfloat16_scores_are_computed_in_float32() -> None:
    scores, labels, sizes = example(3, SIZES, graded=False)
    half = scores.bfloat16()
    for kind in (BinaryCrossEntropyLoss, GroupSoftmaxLoss):
        loss = kind(MODEL)
        found = loss(half, labels, sizes)
        assert found.dtype == torch.float32
        torch.testing.assert_close(
            found.double(), loss(half.double(), labels, sizes), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("kind", [BinaryCrossEntropyLoss, GroupSoftmaxLoss])
def test_models_with_several_labels_are_refused(kind: type[Loss]) -> None:
    with pytest.raises(InputError, match=f"{kind.__name__} needs a model with num_labels=1"):
        kind(SimpleNamespace(num_labels=3))


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match="weights"):
        BinaryCrossEntropyLoss(MODEL, weights=3)
    with pytest.raises(InputError, match="reduction='none'"):
        BinaryCrossEntropyLoss(MODEL, reduction="none")
    with pytest.raises(InputError, match="pos_weight"):
        BinaryCrossEntropyLoss(MODEL, pos_weight=-1)
    with pytest.raises(InputError, match="scale"):
        GroupSoftmaxLoss(MODEL, scale=0.0)


def test_the_model_is_not_part_of_the_loss() -> None:
    model = nn.Linear(2, 2)
    model.num_labels = 1
    loss = BinaryCrossEntropyLoss(model)
    assert loss.model is model
    assert list(loss.parameters()) == []
