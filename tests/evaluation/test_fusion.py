from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import ConfigError, EmptyDataError, InputError, ScoreError
from rankwright.evaluation.fusion import NORMALISATIONS, Fusion, normalise
from rankwright.evaluation.measures import evaluate_run
from rankwright.evaluation.tuning import _plateau, tune_fusion

finite = st.floats(-1e6, 1e6)


def test_normalisations() -> None:
    assert normalise([2, 4, 3], "min-max").tolist() == [0.0, 1.0, 0.5]
    z = normalise([1.0, 2.0, 3.0, 10.0], "z-score")
    values = np.array([1.0, 2.0, 3.0, 10.0])
    np.testing.assert_allclose(z, (values - values.mean()) / values.std(), rtol=1e-14)
    assert normalise([5, 1], "none").tolist() == [5.0, 1.0]


@pytest.mark.parametrize("normalisation", ["min-max", "z-score"])
@pytest.mark.parametrize("value", [0.0, -3.0, 1e308, 5e-324])
def test_constant_and_extreme_lists(normalisation: str, value: float) -> None:
    assert normalise([value] * 3, normalisation).tolist() == [0.0] * 3
    assert normalise([], normalisation).shape == (0,)
    assert np.isfinite(normalise([-1.7e308, 0.0, 1.7e308, value], normalisation)).all()
    assert np.isfinite(normalise([0.0, 5e-324], normalisation)).all()


@pytest.mark.parametrize("normalisation", ["min-max", "z-score"])
@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(-100, 100), min_size=2, max_size=20),
    factor=st.floats(0.5, 100),
    offset=st.floats(-100, 100),
)
def test_scale_does_not_matter(normalisation: str, values, factor: float, offset: float) -> None:
    moved = [v * factor + offset for v in values]
    np.testing.assert_allclose(
        normalise(moved, normalisation), normalise(values, normalisation), atol=1e-9
    )


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_fuse_is_the_convex_combination(normalisation: str) -> None:
    rng = np.random.default_rng(0)
    scores, first = rng.normal(size=20), rng.gamma(2.0, size=20)
    fused = Fusion(0.3, normalisation).fuse(scores, first)
    expected = 0.3 * normalise(first, normalisation) + 0.7 * normalise(scores, normalisation)
    np.testing.assert_allclose(fused, expected, rtol=0, atol=0)
    assert Fusion(0.0, normalisation).fuse(scores, first).argsort().tolist() == (
        scores.argsort().tolist()
    )
    assert Fusion(1.0, normalisation).fuse(scores, first).argsort().tolist() == (
        first.argsort().tolist()
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(finite, finite), max_size=12), st.floats(0, 1))
def test_apply_is_fuse_per_query(pairs, weight: float) -> None:
    reranked = {f"d{i}": a for i, (a, _) in enumerate(pairs)}
    first = {f"d{i}": b for i, (_, b) in reversed(list(enumerate(pairs)))}
    fusion = Fusion(weight)
    run = fusion.apply({"q": reranked}, {"q": first})
    expected = fusion.fuse([a for a, _ in pairs], [b for _, b in pairs])
    assert run["q"] == {f"d{i}": s for i, s in enumerate(expected.tolist())}
    assert list(run["q"].values()) == sorted(run["q"].values(), reverse=True)


def test_documents_that_one_list_lacks_get_its_minimum() -> None:
    reranked = {"q": {"a": 5.0, "b": 1.0}, "only reranked": {"a": 1.0, "b": 3.0}}
    first = {"q": {"c": 10.0, "b": 5.0, "a": 0.0}, "only first": {"a": 1.0, "b": 0.0}}
    run = Fusion(0.5).apply(reranked, first)
    assert run["q"] == {"c": 0.5, "a": 0.5, "b": 0.25}
    assert list(run["q"]) == ["c", "a", "b"]
    assert run["only reranked"] == {"b": 0.5, "a": 0.0}
    assert run["only first"] == {"a": 0.5, "b": 0.0}
    z = Fusion(0.5, "z-score").apply(reranked, first)["q"]
    scaled = normalise([10.0, 5.0, 0.0], "z-score")
    assert z["c"] == pytest.approx(0.5 * scaled[0] + 0.5 * -1.0)


def test_round_trip() -> None:
    fusion = Fusion(0.35, "z-score", "bm25")
    assert Fusion.from_dict(json.loads(json.dumps(fusion.to_dict()))) == fusion
    assert Fusion(np.float64(0.5)).to_dict()["weight"] == 0.5


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"weight": 0.5},
        {"weight": 0.5, "normalisation": "min-max", "first_stage": "x", "extra": 1},
        {"weight": 1.5, "normalisation": "min-max", "first_stage": "x"},
        {"weight": "0.5", "normalisation": "min-max", "first_stage": "x"},
        {"weight": True, "normalisation": "min-max", "first_stage": "x"},
        {"weight": math.nan, "normalisation": "min-max", "first_stage": "x"},
        {"weight": 0.5, "normalisation": "softmax", "first_stage": "x"},
        {"weight": 0.5, "normalisation": "none", "first_stage": ""},
        ["weight"],
    ],
)
def test_from_dict_checks(values) -> None:
    with pytest.raises(ConfigError, match="fusion"):
        Fusion.from_dict(values)


def test_bad_scores() -> None:
    with pytest.raises(ScoreError, match="Score 1"):
        Fusion(0.5).fuse([0.0, math.nan], [0.0, 1.0])
    with pytest.raises(ScoreError, match="Query 'q', first stage"):
        Fusion(0.5).apply({"q": {"a": 1.0}}, {"q": {"a": math.inf}})
    with pytest.raises(InputError, match="2 scores of the reranker but 1"):
        Fusion(0.5).fuse([0.0, 1.0], [1.0])
    with pytest.raises(InputError, match="shape"):
        Fusion(0.5).fuse([[0.0]], [[1.0]])


def tuning_case(seed: int, noise: float = 1.0):
    """Two stages that each see the grade through their own noise; the second sees half the list."""
    rng = np.random.default_rng(seed)
    qrels, reranked, first = {}, {}, {}
    for q in range(40):
        grades = rng.choice(3, size=30, p=[0.85, 0.1, 0.05])
        bm25 = grades + rng.normal(size=30)
        ce = 5 * (grades + noise * rng.normal(size=30))
        qrels[f"q{q}"] = {f"d{i}": int(g) for i, g in enumerate(grades) if g or i % 3 == 0}
        first[f"q{q}"] = {f"d{i}": float(s) for i, s in enumerate(bm25)}
        top = np.argsort(-bm25)[:15]
        reranked[f"q{q}"] = {f"d{i}": float(ce[i]) for i in top}
    del reranked["q3"], first["q4"]
    qrels["unseen"] = {"d1": 2}
    return qrels, reranked, first


@pytest.mark.parametrize("measure", ["nDCG@10", "ndcg@3", "nDCG@100", "RR@10", "AP"])
def test_the_curve_is_what_evaluate_run_says(measure: str) -> None:
    qrels, reranked, first = tuning_case(1)
    tuned = tune_fusion(
        qrels, reranked, first, measure, np.linspace(0, 1, 5), NORMALISATIONS, name="bm25"
    )
    assert len(tuned.curve) == 15
    for weight, normalisation, value in tuned.curve:
        run = Fusion(weight, normalisation).apply(reranked, first)
        assert value == pytest.approx(evaluate_run(qrels, run, [measure]).mean[measure], abs=1e-12)
    assert tuned.reranker_only == evaluate_run(qrels, reranked, [measure]).mean[measure]
    assert tuned.first_stage_only == evaluate_run(qrels, first, [measure]).mean[measure]
    chosen = (tuned.fusion.weight, tuned.fusion.normalisation, tuned.value)
    assert chosen in tuned.curve
    assert tuned.value >= max(tuned.reranker_only, tuned.first_stage_only)
    assert tuned.fusion.first_stage == "bm25"
    assert tuned.queries == evaluate_run(qrels, first).queries


def test_ties_in_the_curve_follow_the_rule_of_runs() -> None:
    rng = np.random.default_rng(4)
    qrels = {
        f"q{q}": {f"d{i}": int(g) for i, g in enumerate(rng.integers(0, 3, 12))} for q in range(9)
    }
    runs = [
        {q: {d: float(rng.integers(0, 3)) for d in grades} for q, grades in qrels.items()}
        for _ in range(2)
    ]
    tuned = tune_fusion(qrels, *runs, weights=[0.0, 0.25, 0.5, 1.0], normalisations=["none"])
    for weight, normalisation, value in tuned.curve:
        run = Fusion(weight, normalisation).apply(*runs)
        assert value == pytest.approx(evaluate_run(qrels, run).mean["nDCG@10"], abs=1e-12)


def test_a_useful_mixture_is_found_and_is_the_same_each_time() -> None:
    qrels, reranked, first = tuning_case(2)
    tuned = tune_fusion(qrels, reranked, first)
    assert 0.0 < tuned.fusion.weight < 1.0
    assert tuned.value > tuned.reranker_only + 0.02
    assert tuned.value > tuned.first_stage_only + 0.02
    shuffled = {q: dict(reversed(d.items())) for q, d in reversed(reranked.items())}
    again = tune_fusion(qrels, shuffled, first)
    assert again.fusion == tuned.fusion
    assert [v for *_, v in again.curve] == pytest.approx([v for *_, v in tuned.curve], abs=1e-12)


def test_a_perfect_reranker_stays_alone() -> None:
    qrels, _, first = tuning_case(3)
    first["q4"] = {"d0": 1.0}
    perfect = {q: {d: float(qrels[q].get(d, 0)) for d in docs} for q, docs in first.items()}
    assert tune_fusion(qrels, perfect, first).fusion.weight == 0.0


def test_plateau_beats_peak() -> None:
    peak = np.array([[0.50, 0.10, 0.80, 0.10, 0.60, 0.62, 0.61, 0.50]])
    assert _plateau(peak, 0.0) == (0, 5)
    # Not below what either stage reaches alone, if that is possible.
    assert _plateau(peak, 0.7) == (0, 2)
    assert _plateau(peak, 0.9) == (0, 5)
    # Equal neighbourhoods: the larger share of the reranker, then the first normalisation.
    assert _plateau(np.full((2, 4), 0.5), 0.0) == (0, 0)
    assert _plateau(np.array([[0.1, 0.1, 0.5], [0.5, 0.5, 0.5]]), 0.0) == (1, 0)


def test_bad_tuning_arguments() -> None:
    qrels, reranked, first = tuning_case(0)
    with pytest.raises(InputError, match="at least one weight"):
        tune_fusion(qrels, reranked, first, weights=[])
    with pytest.raises(InputError, match=r"weight is 2\.0"):
        tune_fusion(qrels, reranked, first, weights=[0.0, 2.0])
    with pytest.raises(InputError, match="normalisation"):
        tune_fusion(qrels, reranked, first, normalisations=["softmax"])
    with pytest.raises(InputError, match="Unknown measure"):
        tune_fusion(qrels, reranked, first, "foo@1")
    with pytest.raises(EmptyDataError):
        tune_fusion({"q0": {"d1": 0}}, reranked, first)
    first["q1"]["d0"] = math.nan
    with pytest.raises(ScoreError, match="q1"):
        tune_fusion(qrels, reranked, first)
