from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rankwright.errors import EmptyDataError, InputError, ScoreError
from rankwright.evaluation.significance import paired_test


def systems(n: int, shift: float, seed: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    rng = np.random.default_rng(seed)
    a = rng.random(n)
    b = a - shift + 0.2 * rng.normal(size=n)
    return ({f"q{i}": float(v) for i, v in enumerate(x)} for x in (a, b))  # type: ignore[return-value]


def scipy_test(a: dict[str, float], b: dict[str, float], resamples: float) -> float:
    return stats.permutation_test(
        (list(a.values()), [b[q] for q in a]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(1),
    ).pvalue


@pytest.mark.parametrize("n", [2, 5, 10, 13])
def test_small_samples_are_exact(n: int) -> None:
    a, b = systems(n, 0.1, seed=n)
    assert paired_test(a, b).p_value == pytest.approx(scipy_test(a, b, np.inf), abs=1e-12)


def test_exact_with_rounded_values() -> None:
    # Differences in tenths: many sign patterns tie with the observed one but for rounding.
    a = {str(i): v for i, v in enumerate([0.3, 0.7, 0.1, 0.9, 0.5, 0.2, 0.6, 0.8])}
    b = {str(i): v for i, v in enumerate([0.1, 0.6, 0.2, 0.6, 0.5, 0.1, 0.9, 0.4])}
    tenths = [2, 1, -1, 3, 0, 1, -3, 4]
    sums = [sum(s * d for s, d in zip(signs, tenths, strict=True)) for signs in all_signs(8)]
    expected = sum(abs(s) >= abs(sum(tenths)) for s in sums) / len(sums)
    assert paired_test(a, b).p_value == expected


def all_signs(n: int) -> list[tuple[int, ...]]:
    return [tuple(1 if (i >> j) & 1 else -1 for j in range(n)) for i in range(2**n)]


@pytest.mark.parametrize(("shift", "seed"), [(0.02, 1), (0.04, 2), (0.0, 3)])
def test_large_samples_agree_with_scipy(shift: float, seed: int) -> None:
    a, b = systems(200, shift, seed)
    ours = paired_test(a, b, permutations=20_000).p_value
    theirs = scipy_test(a, b, 20_000)
    # Twice the smaller one-sided share there, the share of both sides here: SciPy's has twice the
    # standard error.
    error = math.sqrt(theirs * (1 - theirs) / 20_000)
    assert ours == pytest.approx(theirs, abs=4 * math.hypot(1, 2) * error)


def test_one_query_proves_nothing() -> None:
    result = paired_test({"q": 0.9}, {"q": 0.1})
    assert (result.p_value, result.ci_low, result.ci_high) == (1.0, 0.8, 0.8)


def test_interval_agrees_with_scipy() -> None:
    a, b = systems(150, 0.03)
    ours = paired_test(a, b, permutations=20_000)
    theirs = stats.bootstrap(
        ([a[q] - b[q] for q in a],), np.mean, n_resamples=20_000, method="percentile", rng=5
    ).confidence_interval
    assert ours.ci_low == pytest.approx(theirs.low, abs=1.5e-3)
    assert ours.ci_high == pytest.approx(theirs.high, abs=1.5e-3)
    assert ours.ci_low < ours.difference < ours.ci_high
    assert ours.queries == 150


def test_false_alarms_are_as_rare_as_promised() -> None:
    alarms = [
        paired_test(*systems(30, 0.0, seed), permutations=400).p_value <= 0.1 for seed in range(300)
    ]
    assert 0.05 < np.mean(alarms) < 0.16


def test_sign_and_seed() -> None:
    a, b = systems(60, 0.2)
    result = paired_test(a, b)
    assert result == paired_test(a, dict(reversed(b.items())))
    assert result != paired_test(a, b, seed=1)
    swapped = paired_test(b, a)
    assert swapped.difference == -result.difference
    assert swapped.p_value == result.p_value == 1 / 10_001
    assert swapped.ci_high == pytest.approx(-result.ci_low)


def test_equal_systems() -> None:
    a, _ = systems(50, 0.1)
    result = paired_test(a, a)
    assert (result.difference, result.p_value, result.ci_low, result.ci_high) == (0, 1, 0, 0)


def test_memory_is_bounded_for_many_queries() -> None:
    a, b = systems(100_000, 0.0)
    assert 0 < paired_test(a, b, permutations=50).p_value <= 1


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="1 only in a, 0 only in b .*'y'"):
        paired_test({"x": 1.0, "y": 1.0}, {"x": 1.0})
    with pytest.raises(EmptyDataError):
        paired_test({}, {})
    with pytest.raises(ScoreError, match="'x' in b is nan"):
        paired_test({"x": 1.0}, {"x": math.nan})
    with pytest.raises(InputError, match="permutations"):
        paired_test({"x": 1.0}, {"x": 1.0}, permutations=0)
