"""What holds for every loss, whatever its definition."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rankwright import losses
from rankwright.errors import InputError
from rankwright.losses import Loss
from tests.losses import by_hand
from tests.losses.cases import CASES, CLASSES, MODEL, Case, value

every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
some_sizes = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any)
seeds = st.integers(0, 999)


def regrouped(case: Case, data: tuple[Tensor, Tensor, Tensor], order: list[int]) -> list:
    """The groups ``order`` of a batch, one (scores, labels) each."""
    scores, labels, sizes = data
    parts = list(zip(scores.split(sizes.tolist()), labels.split(sizes.tolist()), strict=True))
    return [parts[i] for i in order]


def batch_of(groups: list) -> tuple[Tensor, Tensor, Tensor]:
    sizes = torch.tensor([len(s) for s, _ in groups])
    return torch.cat([s for s, _ in groups]), torch.cat([y for _, y in groups]), sizes


def test_every_loss_is_here() -> None:
    kinds = {type(case.loss()) for case in CASES.values()}
    named = {getattr(losses, name) for name in losses.__all__}
    assert {k for k in named if isinstance(k, type) and issubclass(k, Loss)} - {Loss} == kinds


@every_loss
@settings(max_examples=6, deadline=None)
@given(sizes=some_sizes, seed=seeds)
def test_values_and_gradients_equal_loops(case: Case, sizes: list[int], seed: int) -> None:
    scores, labels, lengths = case.example(sizes, seed)
    scores.requires_grad_()
    found = value(case.loss(), scores, labels, lengths)
    assert found.dtype == torch.float64
    expected = case.by_hand(scores.detach(), labels, sizes)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    found.backward()
    slopes = by_hand.gradient(case.by_hand, scores.detach(), labels, sizes)
    torch.testing.assert_close(scores.grad, slopes, atol=1e-7, rtol=1e-5)


@every_loss
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [3], [2, 0, 5, 1], [0, 1]], ids=str)
@pytest.mark.parametrize("labels", ["zero", "equal", "mixed"])
def test_ties_and_lists_without_relevant_documents_equal_loops(
    case: Case, sizes: list[int], labels: str
) -> None:
    scores, given_labels, lengths = case.example(sizes, 3)
    if labels != "mixed":
        given_labels = torch.full_like(given_labels, 0 if labels == "zero" else 1)
    scores[::3] = 0.5
    scores.requires_grad_()
    found = value(case.loss(), scores, given_labels, lengths)
    expected = case.by_hand(scores.detach(), given_labels, sizes)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    found.backward()
    assert torch.isfinite(scores.grad).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 300.0, 1e4])
def test_never_nan(case: Case, dtype: torch.dtype, size: float) -> None:
    """Ragged lists, lists of one, all zero, scores far apart and equal, half precision."""
    sizes = [4, 1, 0, 3, 2, 1, 6]
    scores, labels, lengths = case.example(sizes, 11)
    labels[4:7] = 0
    scores = scores.sign() * size
    scores[::4] = 0.0
    scores = scores.to(dtype).requires_grad_()
    found = value(case.loss(), scores, labels, lengths)
    assert found.dtype == torch.float32
    assert torch.isfinite(found)
    assert found >= 0
    found.backward()
    assert torch.isfinite(scores.grad).all()


@every_loss
@settings(max_examples=10, deadline=None)
@given(sizes=some_sizes, seed=seeds, data=st.data())
def test_order_and_padding_do_not_matter(
    case: Case, sizes: list[int], seed: int, data: st.DataObject
) -> None:
    loss, batch = case.loss(), case.example(sizes, seed)
    groups = regrouped(case, batch, data.draw(st.permutations(range(len(sizes)))))
    shuffled = []
    for s, y in groups:
        keeps = len(s) if case.keeps is None else min(case.keeps, len(s))
        order = [*range(keeps), *data.draw(st.permutations(range(keeps, len(s))))]
        shuffled.append((s[order], y[order]))
    if case.labels != "classes":
        shuffled.insert(data.draw(st.integers(0, len(groups))), (batch[0][:0], batch[1][:0]))
    torch.testing.assert_close(value(loss, *batch), value(loss, *batch_of(shuffled)))


@every_loss
@settings(max_examples=10, deadline=None)
@given(sizes=some_sizes, seed=seeds, data=st.data())
def test_the_whole_is_the_weighted_mean_of_its_parts(
    case: Case, sizes: list[int], seed: int, data: st.DataObject
) -> None:
    loss, batch = case.loss(), case.example(sizes, seed)
    weights = loss.weight_of(len(batch[0]), *batch[1:])
    assert (weights is not None) == case.separable
    if weights is None:
        return
    groups = regrouped(case, batch, list(range(len(sizes))))
    cuts = [data.draw(st.booleans()) for _ in groups]
    parts = [[g for g, cut in zip(groups, cuts, strict=True) if cut == side] for side in (0, 1)]
    parts = [batch_of(part) for part in parts if sum(len(s) for s, _ in part)]
    whole = loss(*batch)
    if not isinstance(whole, dict):
        whole, weights = {"": whole}, {"": weights}
    for name, expected in whole.items():
        total = torch.zeros((), dtype=torch.float64)
        shares = 0.0
        for part in parts:
            found, weight = loss(*part), loss.weight_of(len(part[0]), *part[1:])
            share = weight[name] if isinstance(weight, dict) else weight
            total += (found[name] if isinstance(found, dict) else found) * share
            shares += share
        assert shares == pytest.approx(weights[name])
        torch.testing.assert_close(total / (shares or 1.0), expected)


@every_loss
def test_configurations_are_plain_and_models_checked(case: Case) -> None:
    loss = case.loss()
    json.dumps(loss.get_config_dict())
    assert loss.citation is None or loss.citation.startswith("@")
    if not isinstance(loss, losses.WeightedSumLoss):
        with pytest.raises(InputError, match="num_labels"):
            case.make(MODEL if case.labels == "classes" else CLASSES)


@every_loss
def test_labels_are_needed(case: Case) -> None:
    scores, _, sizes = case.example([2, 3], 0)
    with pytest.raises(InputError, match="labels"):
        case.loss()(scores, None, sizes)
    if case.labels == "grades":
        with pytest.raises(InputError, match=r"group sizes|groups of documents"):
            case.loss()(scores, scores, None)


@pytest.mark.parametrize("name", ["BinaryCrossEntropyLoss", "MSELoss", "MarginMSELoss"])
def test_sums_are_means_times_their_weight(name: str) -> None:
    kind = getattr(losses, name)
    data = CASES[name.removesuffix("Loss")].example([3, 1, 4], 0)
    mean, total = kind(MODEL), kind(MODEL, reduction="sum")
    weight = mean.weight_of(8, *data[1:])
    torch.testing.assert_close(mean(*data) * weight, total(*data))
    assert total.weight_of(8, *data[1:]) is None


@every_loss
def test_mini_batch_sizes_below_one_mean_all_pairs(case: Case) -> None:
    loss = case.loss()
    if isinstance(loss, losses.MultipleNegativesRankingLoss | losses.WeightedSumLoss):
        return
    kind = type(loss)
    options = {"num_documents": 9} if kind is losses.GBCELoss else {}
    model = CLASSES if case.labels == "classes" else MODEL
    assert kind(model, mini_batch_size=4, **options).mini_batch_size == 4
    for size in (None, 0, -1):
        assert kind(model, mini_batch_size=size, **options).mini_batch_size is None
