"""ListMLE, ADR-MSE, KL and gBCE: what is theirs alone. Their values: test_every_loss.py."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import ColumnError, InputError, LabelError
from rankwright.losses import (
    ADRMSELoss,
    BinaryCrossEntropyLoss,
    DistillKLDivLoss,
    GBCELoss,
    LambdaLoss,
    ListMLELoss,
    MultipleNegativesRankingLoss,
    NoWeightingScheme,
    PListMLELambdaWeight,
    PListMLELoss,
)
from rankwright.losses.list_mle import plackett_luce

MODEL = SimpleNamespace(num_labels=1)
LISTS = {"query": ["q", "r"], "docs": [["a", "b", "c"], ["d"]], "labels": [[2, 0, 1], [0]]}


def mask_of(*sizes: int) -> torch.Tensor:
    return torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]


def test_places_count_two_to_the_power_of_those_behind_them() -> None:
    weights = PListMLELambdaWeight()(mask_of(3, 1, 4))
    assert weights.tolist() == [[3, 1, 0, 0], [0, 0, 0, 0], [7, 3, 1, 0]]


@pytest.mark.parametrize("count", [100, 101, 300, 1500])
def test_long_lists_keep_the_proportions_of_their_weights(count: int) -> None:
    weights = PListMLELambdaWeight()(mask_of(count, 2))
    assert torch.isfinite(weights).all()
    top = weights[0, :20].double() / weights[0].double().sum()
    whole = sum(2 ** (count - rank) - 1 for rank in range(1, count + 1))
    expected = [(2 ** (count - rank) - 1) / whole for rank in range(1, 21)]
    torch.testing.assert_close(top, torch.tensor(expected, dtype=torch.float64))
    assert weights[1, :2].tolist() == [1.0, 0.0]  # a short list beside it has its own
    scores = torch.randn(count, requires_grad=True)
    loss = PListMLELoss(MODEL)(scores, torch.zeros(count), torch.tensor([count]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 99))
def test_probabilities_of_all_orders_sum_to_one(count: int, seed: int) -> None:
    from itertools import permutations

    scores = torch.randn(count, generator=torch.Generator().manual_seed(seed)).double() * 3
    orders = list(permutations(range(count)))
    flat = torch.cat([scores[list(order)] for order in orders])
    logs = plackett_luce(flat, torch.tensor([count] * len(orders)))
    assert float(logs.view(-1, count).sum(1).exp().sum()) == pytest.approx(1.0)


def test_the_order_is_that_of_the_input_or_of_the_labels() -> None:
    scores, sizes = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1]), torch.tensor([3, 2])
    labels = torch.tensor([0.0, 2.0, 1.0, 0.0, 0.0])
    by_label = PListMLELoss(MODEL, respect_input_order=False)(scores, labels, sizes)
    sorted_first = scores[[1, 2, 0, 3, 4]]
    torch.testing.assert_close(by_label, PListMLELoss(MODEL)(sorted_first, labels, sizes))
    assert not torch.isclose(by_label, PListMLELoss(MODEL)(scores, labels, sizes))


def test_no_weights_mean_list_mle() -> None:
    data = (torch.tensor([0.3, -1.0, 2.0]), torch.zeros(3), torch.tensor([3]))
    assert torch.equal(PListMLELoss(MODEL, None)(*data), ListMLELoss(MODEL)(*data))
    assert "lambda_weight" not in ListMLELoss(MODEL).get_config_dict()


@pytest.mark.parametrize("wrong", [lambda m: m.sum(1), lambda m: 1.0], ids=["shape", "type"])
def test_weights_of_another_shape_are_refused(wrong: Any) -> None:
    loss = PListMLELoss(MODEL, PListMLELambdaWeight(wrong))
    with pytest.raises(InputError, match=r"shape of its mask, \(1, 2\)"):
        loss(torch.zeros(2), torch.zeros(2), torch.tensor([2]))


def test_an_order_that_contradicts_the_labels_is_reported(caplog: Any) -> None:
    ListMLELoss(MODEL, respect_input_order=False).check(LISTS)
    ListMLELoss(MODEL).check({**LISTS, "labels": [[2, 1, 1], [0]]})
    assert not caplog.records
    ListMLELoss(MODEL).check(LISTS)
    assert "labels such as [2, 0, 1] do not fall" in caplog.text


def test_adr_mse_is_zero_where_ranks_are_right() -> None:
    """Scores far apart have exact ranks, equal scores share them as equal labels do."""
    labels = torch.tensor([3.0, 1.0, 1.0, 0.0, 5.0, 5.0])
    loss = ADRMSELoss(MODEL)(labels * 1000, labels, torch.tensor([4, 2]))
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    worse = ADRMSELoss(MODEL)(-labels * 1000, labels, torch.tensor([4, 2]))
    by_hand = [(1 - 4) ** 2, 0.25 / math.log2(3.5) * 0, 0, (4 - 1) ** 2 / math.log2(5)]
    assert float(worse) == pytest.approx((by_hand[0] + by_hand[3]) / 6, rel=1e-5)


def test_a_teacher_is_matched_up_to_a_constant() -> None:
    teacher, sizes = torch.tensor([3.0, -1.0, 0.5, 2.0]), torch.tensor([3, 1])
    student = torch.tensor([10.0, 6.0, 7.5, -9.0])
    assert float(DistillKLDivLoss(MODEL)(student, teacher, sizes)) == pytest.approx(0, abs=1e-6)
    # The student's temperature and the teacher's, each on its own.
    apart = DistillKLDivLoss(MODEL, temperature=2.0, teacher_temperature=0.5)
    assert float(apart(teacher * 4, teacher, sizes)) == pytest.approx(0, abs=1e-5)
    assert float(apart(teacher, teacher, sizes)) > 0.1


def test_gradients_do_not_shrink_with_the_temperature() -> None:
    """T² times the softmax's 1/T twice: at high temperatures the gradient has a limit."""
    teacher, sizes = torch.tensor([1.0, 0.0]), torch.tensor([2])
    found = []
    for temperature in (100.0, 1000.0):
        scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        DistillKLDivLoss(MODEL, temperature)(scores, teacher, sizes).backward()
        found.append(scores.grad)
    torch.testing.assert_close(found[0], torch.tensor([-0.25, 0.25]).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=0)


def test_teacher_scores_come_in_lists_or_columns() -> None:
    pairs = DistillKLDivLoss(MODEL).pairs
    assert pairs({**LISTS, "labels": [[0.5, -2, 1], [3]]}).labels == [0.5, -2, 1, 3]
    columns = {"q": ["q"], "positive": ["p"], "negative_1": ["n"], "score": [[7.5, -1.0]]}
    built = pairs(columns)
    assert (built.labels, built.group_sizes) == ([7.5, -1.0], [2])
    with pytest.raises(LabelError, match="has 2 documents"):
        pairs({**columns, "score": [[1.0]]})
    with pytest.raises(LabelError, match="needs labels"):
        pairs({name: column for name, column in columns.items() if name != "score"})


def test_a_teacher_that_says_nothing_is_reported(caplog: Any) -> None:
    flat = {**LISTS, "labels": [[0.62, 0.6, 0.58], [0.1]]}
    DistillKLDivLoss(MODEL, teacher_temperature=0.02).check(flat)
    DistillKLDivLoss(MODEL).check(LISTS)
    DistillKLDivLoss(MODEL).check({"q": ["q"], "docs": [["a"]], "labels": [[1]]})
    assert not caplog.records
    DistillKLDivLoss(MODEL).check(flat)
    assert "1.020 times the probability of chance" in caplog.text


@pytest.mark.parametrize(("t", "beta"), [(0.0, 1.0), (0.75, 0.25 + 0.75 * 0.1), (1.0, 0.1)])
def test_positives_count_by_the_share_of_negatives_seen(t: float, beta: float) -> None:
    """Three negatives out of 30 that there are besides the positive."""
    scores = torch.tensor([0.4, -1.0, 0.2, 2.0])
    labels, sizes = torch.tensor([1.0, 0, 0, 0]), torch.tensor([4])
    found = GBCELoss(MODEL, 31, t)(scores, labels, sizes)
    given_rate = GBCELoss(MODEL, t=t, sampling_rate=0.1)(scores, labels, sizes)
    expected = BinaryCrossEntropyLoss(MODEL, pos_weight=beta)(scores, labels)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(given_rate, expected)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_full_calibration_makes_true_probabilities_optimal(share: float) -> None:
    """A document is relevant to that share of queries, and drawn for 2 of 40 others.

    Its expected gradient vanishes where its score says so with t = 1; with plain binary
    cross-entropy the best score is far higher.
    """
    k, there = 2, 40
    scores = torch.full((1 + k,), math.log(share / (1 - share))).double().requires_grad_()
    labels, sizes = torch.tensor([1.0] + [0.0] * k), torch.tensor([1 + k])
    for t, balanced in ((1.0, True), (0.0, False)):
        scores.grad = None
        GBCELoss(MODEL, there + 1, t)(scores, labels, sizes).backward()
        expected = share * scores.grad[0] + (1 - share) * k / there * scores.grad[1]
        assert (abs(float(expected)) < 1e-9) == balanced
        assert float(expected) < 1e-9


def test_gbce_takes_pairs_where_the_rate_is_given() -> None:
    columns = {"query": ["q", "r"], "document": ["a", "b"], "label": [1, 0]}
    loss = GBCELoss(MODEL, t=1.0, sampling_rate=0.2)
    assert loss.pairs(columns).group_sizes is None
    scores, labels = torch.tensor([0.3, 1.0]), torch.tensor([1.0, 0.0])
    expected = BinaryCrossEntropyLoss(MODEL, pos_weight=0.2)(scores, labels)
    torch.testing.assert_close(loss(scores, labels), expected)
    assert loss.weight_of(2, labels, None) == 2
    with pytest.raises(ColumnError, match="are \\(query, document\\)"):
        GBCELoss(MODEL, 100).pairs(columns)
    tuples = {"q": ["q"], "positive": ["p"], "negative": ["n"]}
    assert GBCELoss(MODEL, 100).pairs(tuples).labels == [1.0, 0.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GBCELoss(MODEL), "pass either num_documents"),
        (lambda: GBCELoss(MODEL, 10, sampling_rate=0.1), "pass either num_documents"),
        (lambda: GBCELoss(MODEL, 1), "num_documents must be at least 2"),
        (lambda: GBCELoss(MODEL, 10, t=1.5), "t must be a number from 0 to 1"),
        (lambda: GBCELoss(MODEL, sampling_rate=-0.1), "sampling_rate must be from 0 to 1"),
        (lambda: ADRMSELoss(MODEL, alpha=0.0), "alpha must be a number above 0"),
        (lambda: DistillKLDivLoss(MODEL, math.nan), "temperature must be a number above 0"),
        (lambda: DistillKLDivLoss(MODEL, 1.0, -1.0), "teacher_temperature must be a number above"),
    ],
)
def test_options_out_of_range_are_named(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("most", [100.0, 900.0])
def test_grades_of_any_height_have_finite_gains(most: float) -> None:
    """Gains are powers of two, and labels may be anything, a teacher's scores for instance."""
    scores = torch.tensor([0.5, 1.0, -1.0], requires_grad=True)
    labels, sizes = torch.tensor([most, most - 1, 0.0]), torch.tensor([3])
    loss = LambdaLoss(MODEL)(scores, labels, sizes)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    # Gains relative to the best, as they are at heights that float64 still holds.
    lower = LambdaLoss(MODEL)(scores.detach().double(), labels - most + 50, sizes)
    lowest = torch.tensor([50.0, 49.0, 0.0])
    torch.testing.assert_close(
        loss.detach().double(), LambdaLoss(MODEL)(scores.detach().double(), lowest, sizes)
    )
    assert lower > 0


def test_none_leaves_out_what_is_the_default() -> None:
    data = (torch.tensor([0.5, 1.0, -1.0]), torch.tensor([1.0, 0, 0]), torch.tensor([3]))
    assert isinstance(LambdaLoss(MODEL, None).weighting_scheme, NoWeightingScheme)
    plain = MultipleNegativesRankingLoss(MODEL, activation_fn=None, scale=1.0)(*data)
    assert float(plain) == pytest.approx(-float(data[0].log_softmax(0)[0]))
