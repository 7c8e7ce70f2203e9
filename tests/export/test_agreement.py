from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, sem
from sklearn.metrics import ndcg_score

from rankwright.errors import InputError
from rankwright.export.agreement import (
    CHANCE,
    LIMITS,
    Limits,
    compare,
    kendall_tau,
    limits_for,
)
from rankwright.model.golden import Golden, GoldenQuery

NUMBERS = st.lists(st.integers(-4, 4), min_size=2, max_size=12)


def golden(scores: list[list[float]], labels: list[tuple[int, ...] | None]) -> Golden:
    queries = tuple(
        GoldenQuery(f"q{i}", tuple(f"d{j}" for j in range(len(row))), label)
        for i, (row, label) in enumerate(zip(scores, labels, strict=True))
    )
    flat = np.asarray([[x] for row in scores for x in row], np.float32)
    return Golden(queries, "test", None, flat, flat)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_kendall_tau_is_scipys(data: st.DataObject) -> None:
    a = data.draw(NUMBERS)
    b = data.draw(st.lists(st.integers(-4, 4), min_size=len(a), max_size=len(a)))
    found = kendall_tau(np.asarray(a, float), np.asarray(b, float))
    expected = kendalltau(a, b).statistic
    if np.isnan(expected):
        expected = float(len(set(a)) == len(set(b)) == 1)
    assert found == pytest.approx(expected, abs=1e-12)


def test_measures_by_hand_and_by_sklearn() -> None:
    reference = [[0.9, 0.5, 0.1, 0.3], [0.2, 0.8, 0.4]]
    labels = [(0, 2, 1, 0), (1, 0, 0)]
    other = np.asarray([0.4, 0.9, 0.1, 0.2, 0.9, 0.8, 0.1])
    found = compare(golden(reference, labels), other)
    rows = [other[:4], other[4:]]
    taus = [kendalltau(a, b).statistic for a, b in zip(reference, rows, strict=True)]
    drops = [
        ndcg_score([grades], [a], k=10) - ndcg_score([grades], [b], k=10)
        for grades, a, b in zip(labels, reference, rows, strict=True)
    ]
    assert found.kendall_tau == pytest.approx(np.mean(taus))
    assert found.ndcg_drop == pytest.approx(np.mean(drops))
    assert found.ndcg_error == pytest.approx(sem(drops))
    assert found.max_score_difference == pytest.approx(0.7, abs=1e-6)
    assert found.difference == pytest.approx(0.7 / 0.8, abs=1e-6)
    apart = other - np.concatenate(reference)
    assert found.rms_difference == pytest.approx(np.sqrt(np.mean(apart**2)) / 0.8, abs=1e-6)


def test_without_labels_the_references_order_is_the_truth() -> None:
    reference = [float(x) for x in np.random.default_rng(0).permutation(14)]
    grades = np.zeros(14)
    grades[np.argsort(-np.asarray(reference))[:10]] = np.arange(10, 0, -1)
    other = np.random.default_rng(1).normal(size=14)
    found = compare(golden([reference], [None]), other)
    assert found.ndcg_drop == pytest.approx(1 - ndcg_score([grades], [other], k=10))


def test_equal_scores_agree_wholly() -> None:
    reference = golden([[0.1, 0.2], [0.5, 0.5]], [None, (0, 0)])
    found = compare(reference, reference.scores)
    assert (found.kendall_tau, found.ndcg_drop, found.difference) == (1.0, 0.0, 0.0)
    assert all(limits.accept(found) for limits in LIMITS.values())


def test_several_labels_are_compared_one_by_one() -> None:
    scores = np.asarray([[0.1, 0.9], [0.7, 0.2], [0.3, 0.4]], np.float32)
    reference = Golden((GoldenQuery("q", ("a", "b", "c")),), "test", None, scores, scores)
    swapped = scores.copy()
    swapped[:, 1] = -scores[:, 1]
    assert compare(reference, swapped).kendall_tau == pytest.approx(0.0)  # 1 and -1
    assert compare(reference, scores).kendall_tau == 1.0


def test_limits() -> None:
    limits = Limits(kendall_tau=0.9, ndcg_drop=0.001, difference=0.1)
    reference = golden([[0.0, 0.5, 1.0]], [None])
    near = compare(reference, np.asarray([0.05, 0.5, 1.0]))
    assert limits.accept(near)
    assert limits.violation(near) == pytest.approx(0.5, abs=1e-5)
    far = compare(reference, np.asarray([0.6, 0.5, 1.0]))
    assert not limits.accept(far)
    for word in ("Kendall tau is 0.3333", "nDCG@10 drops", "60.00%"):
        assert word in limits.complaint(far)
    assert limits_for("int8", ndcg_drop=0.5, kendall_tau=None).ndcg_drop == 0.5
    assert limits_for("int8", ndcg_drop=0.5).chance == 0.0
    assert limits_for("int8", ndcg_drop=None) == replace(LIMITS["int8"], chance=CHANCE)
    # a limit of 0 allows equality and nothing else
    strict = Limits(1.0, 0.0, 0.0)
    assert strict.accept(compare(reference, reference.scores))
    assert strict.violation(near) == np.inf


def test_what_few_queries_cannot_tell_is_put_down_to_chance() -> None:
    generator = np.random.default_rng(3)
    rows = [list(generator.permutation(6).astype(float)) for _ in range(30)]
    reference = golden(rows, [tuple(int(x == max(row)) for x in row) for row in rows])
    # One query of thirty loses its best document.
    other = np.concatenate(rows)
    other[:6] *= -1
    found = compare(reference, other)
    assert found.queries == 30
    assert 0.01 < found.ndcg_drop < 2 * found.ndcg_error
    strict = Limits(kendall_tau=-1.0, ndcg_drop=0.003, difference=10.0)
    assert not strict.accept(found)
    assert replace(strict, chance=2.0).accept(found)
    # All of them do: that is not chance.
    worse = compare(reference, -np.concatenate(rows))
    assert not replace(strict, chance=2.0).accept(worse)
    assert "on 30 queries (standard error" in strict.complaint(worse)


def test_mistakes() -> None:
    with pytest.raises(InputError, match="Kendall"):
        Limits(2.0, 0.0, 0.0)
    with pytest.raises(InputError, match="0 or more"):
        Limits(0.5, -0.1, 0.0)
    with pytest.raises(InputError, match=r"\(2, 1\) scores for golden pairs with \(3, 1\)"):
        compare(golden([[0.0, 0.5, 1.0]], [None]), np.zeros(2))
