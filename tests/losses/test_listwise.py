"""The losses over lists, margins and classes against loops over single documents."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import InputError, LabelError
from rankwright.losses import (
    CrossEntropyLoss,
    LambdaLoss,
    LambdaRankScheme,
    ListNetLoss,
    MarginMSELoss,
    MSELoss,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
    RankNetLoss,
)
from tests.losses import by_hand

MODEL = SimpleNamespace(num_labels=1)
SIZES = [4, 1, 3, 2]
some_sizes = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any)


def example(seed: int, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(sum(sizes), generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, 4, (sum(sizes),), generator=generator).double()
    return scores, labels, torch.tensor(sizes)


SCHEMES = [
    NoWeightingScheme(), NDCGLoss1Scheme(), NDCGLoss2Scheme(), LambdaRankScheme(),
    NDCGLoss2PPScheme(mu=5.0),
]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(some_sizes, st.integers(0, 99))
def test_list_net_and_margin_mse_equal_loops(sizes: list[int], seed: int) -> None:
    scores, labels, lengths = example(seed, sizes)
    found = ListNetLoss(MODEL)(scores, labels, lengths)
    assert float(found) == pytest.approx(by_hand.list_net(scores, labels, sizes), rel=1e-9)
    found = MarginMSELoss(MODEL)(scores, labels, lengths)
    assert float(found) == pytest.approx(by_hand.margin_mse(scores, labels, sizes), rel=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
@settings(max_examples=20, deadline=None)
@given(some_sizes, st.integers(0, 99), st.sampled_from([None, 1, 2]), st.floats(0.5, 2.0))
def test_lambda_loss_equals_loops(
    scheme: nn.Module, sizes: list[int], seed: int, k: int | None, sigma: float
) -> None:
    scores, labels, lengths = example(seed, sizes)
    found = LambdaLoss(MODEL, scheme, k=k, sigma=sigma)(scores, labels, lengths)
    expected = by_hand.lambda_loss(scores, labels, sizes, scheme, k, sigma)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_rank_net_is_lambda_loss_without_weights() -> None:
    data = example(4, SIZES)
    found = RankNetLoss(MODEL, reduction_log="natural")(*data)
    expected = LambdaLoss(MODEL, NoWeightingScheme(), reduction_log="natural")(*data)
    assert torch.equal(found, expected)
    binary = RankNetLoss(MODEL)(*data)
    assert float(binary * math.log(2)) == pytest.approx(float(found))


@pytest.mark.parametrize(
    "loss",
    [ListNetLoss(MODEL), MarginMSELoss(MODEL), MSELoss(MODEL), RankNetLoss(MODEL),
     *(LambdaLoss(MODEL, scheme) for scheme in SCHEMES[1:])],
    ids=lambda loss: type(getattr(loss, "weighting_scheme", loss)).__name__,
)  # fmt: skip
def test_gradients_equal_finite_differences(loss: Any) -> None:
    scores, labels, sizes = example(5, [4, 1, 0, 3])
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, labels, sizes), scores)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.permutations(range(len(SIZES))))
def test_order_of_groups_and_of_documents_does_not_matter(seed: int, order: list[int]) -> None:
    scores, labels, sizes = example(seed, SIZES)
    groups = [(scores.split(SIZES)[i], labels.split(SIZES)[i]) for i in order]
    generator = torch.Generator().manual_seed(seed)
    groups = [
        (s[p], y[p]) for s, y in groups for p in [torch.randperm(len(s), generator=generator)]
    ]
    other = (
        torch.cat([s for s, _ in groups]), torch.cat([y for _, y in groups]),
        torch.tensor([len(s) for s, _ in groups]),
    )  # fmt: skip
    for loss in (ListNetLoss(MODEL), RankNetLoss(MODEL), LambdaLoss(MODEL), LambdaLoss(MODEL, k=2)):
        torch.testing.assert_close(loss(scores, labels, sizes), loss(*other))


def test_lists_without_an_order_cost_nothing() -> None:
    scores = torch.tensor([1.0, 2.0, 0.5], requires_grad=True)
    loss = LambdaLoss(MODEL)(scores, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2, 1]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(scores.grad, torch.zeros(3))


def test_badly_misordered_pairs_keep_their_gradient() -> None:
    scores = torch.tensor([-500.0, 500.0], requires_grad=True)
    RankNetLoss(MODEL, reduction_log="natural")(
        scores, torch.tensor([1.0, 0.0]), torch.tensor([2])
    ).backward()
    torch.testing.assert_close(scores.grad, torch.tensor([-1.0, 1.0]))


def test_cross_entropy_and_mse() -> None:
    scores = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 0.4]], dtype=torch.float64)
    labels = torch.tensor([0, 2])
    loss = CrossEntropyLoss(SimpleNamespace(num_labels=3))
    by_hand = (
        -sum(
            math.log(math.exp(row[y]) / sum(math.exp(v) for v in row))
            for row, y in zip(scores.tolist(), labels.tolist(), strict=True)
        )
        / 2
    )
    assert float(loss(scores, labels)) == pytest.approx(by_hand, rel=1e-12)
    weights = torch.tensor([1.0, 1.0, 3.0])
    weighted = CrossEntropyLoss(SimpleNamespace(num_labels=3), weight=weights, label_smoothing=0.1)
    torch.testing.assert_close(
        weighted(scores, labels),
        F.cross_entropy(scores, labels, weight=weights.double(), label_smoothing=0.1),
    )
    values = torch.tensor([1.0, 3.0])
    assert float(MSELoss(MODEL)(values, torch.tensor([0.0, 1.0]))) == 2.5
    assert float(MSELoss(MODEL, reduction="sum")(values, torch.tensor([0.0, 1.0]))) == 5.0


def test_class_numbers_are_checked() -> None:
    builder = CrossEntropyLoss(SimpleNamespace(num_labels=3)).pairs
    assert builder({"a": ["x"], "b": ["y"], "label": [2]}).labels == [2]
    with pytest.raises(LabelError, match="whole numbers from 0 to 2, found 3"):
        builder({"a": ["x"], "b": ["y"], "label": [3]})
    with pytest.raises(InputError, match="at least 2"):
        CrossEntropyLoss(MODEL)
    with pytest.raises(InputError, match="found shape"):
        CrossEntropyLoss(SimpleNamespace(num_labels=3), weight=torch.ones(2))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([5.0, 2.0, 1.0], [5.0, 2.0, 1.0]),  # scores of all three
        ([3.0, 4.0], [0.0, -3.0, -4.0]),  # margins over the two negatives
    ],
)
def test_margins_and_scores_say_the_same(label: list[float], expected: list[float]) -> None:
    columns = {"q": ["q"], "p": ["p"], "n1": ["n"], "n2": ["m"], "score": [label]}
    built = MarginMSELoss(MODEL).pairs(columns)
    assert built.labels == expected
    scores = torch.tensor([1.0, 0.0, 0.0])
    loss = MarginMSELoss(MODEL)(scores, torch.tensor(built.labels), torch.tensor([3]))
    assert float(loss) == pytest.approx(((1 - 3) ** 2 + (1 - 4) ** 2) / 2)


def test_one_negative_may_have_a_bare_margin() -> None:
    builder = MarginMSELoss(MODEL).pairs
    columns = {"q": ["q"], "p": ["p"], "n": ["n"], "score": [0.5]}
    assert builder(columns).labels == [0.0, -0.5]
    with pytest.raises(LabelError, match="needs a list of 2"):
        builder({**columns, "score": [[1, 2, 3]]})


def test_options_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match="reduction_log"):
        LambdaLoss(MODEL, reduction_log="decimal")
    with pytest.raises(InputError, match="k must be at least 1"):
        RankNetLoss(MODEL, k=0)
    with pytest.raises(InputError, match="label_smooth"):
        CrossEntropyLoss(SimpleNamespace(num_labels=2), label_smooth=1)
