from __future__ import annotations

import logging
import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from rankwright.errors import EmptyDataError, InputError, InputTypeError, ScoreError
from rankwright.evaluation.measures import evaluate_run, ranked_ids


def random_case(seed: int, queries: int = 30, documents: int = 40, ties: bool = False):
    """Graded judgements, some of them for documents that the run does not have."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for q in range(queries):
        judged = rng.choice(documents, size=rng.integers(1, 12), replace=False)
        qrels[f"q{q}"] = {f"d{d}": int(rng.integers(0, 4)) for d in judged}
        found = rng.choice(documents, size=rng.integers(1, documents), replace=False)
        scores = rng.integers(0, 6, len(found)) / 2 if ties else rng.normal(size=len(found))
        run[f"q{q}"] = {f"d{d}": float(s) for d, s in zip(found, scores, strict=True)}
    qrels["q0"]["d0"] = 3
    return qrels, run


def brute_force(grades: dict[str, int], ranking: list[str], k: int) -> tuple[float, float, float]:
    """nDCG@k, RR@k and AP from their definitions."""
    gains = [grades.get(d, 0) for d in ranking]
    ideal = sorted(grades.values(), reverse=True)
    dcg = math.fsum(g / math.log2(i + 2) for i, g in enumerate(gains[:k]))
    best = math.fsum(g / math.log2(i + 2) for i, g in enumerate(ideal[:k]))
    first = next((1 / (i + 1) for i, g in enumerate(gains[:k]) if g > 0), 0.0)
    precisions = [
        sum(g > 0 for g in gains[: i + 1]) / (i + 1) for i, g in enumerate(gains) if g > 0
    ]
    return dcg / best, first, math.fsum(precisions) / sum(g > 0 for g in ideal)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_definitions(ties: bool, k: int) -> None:
    qrels, run = random_case(k, ties=ties)
    result = evaluate_run(qrels, run, [f"nDCG@{k}", f"RR@{k}", "AP"])
    counted = {q: g for q, g in qrels.items() if max(g.values()) > 0}
    assert result.queries == len(counted)
    for query, grades in counted.items():
        # Sorting twice, by id and then by score, is the tie rule in other words.
        ranking = sorted(sorted(run[query], reverse=True), key=lambda d: -run[query][d])
        expected = brute_force(grades, ranking, k)
        found = [result.per_query[m][query] for m in (f"nDCG@{k}", f"RR@{k}", "AP")]
        assert found == pytest.approx(expected, abs=1e-12)
    for measure, values in result.per_query.items():
        assert result.mean[measure] == pytest.approx(sum(values.values()) / len(counted), abs=1e-12)


def test_agrees_with_ir_measures_where_float32_is_enough() -> None:
    qrels, run = random_case(5, ties=True)  # halves: exact in float32
    names = [
        "nDCG@10",
        "nDCG",
        "AP",
        "AP@5",
        "P@5",
        "R@10",
        "Rprec",
        "Success@3",
        "AP(rel=2)",
        "RR",
    ]
    counted = {q: g for q, g in qrels.items() if max(g.values()) > 0}
    direct = ir_measures.pytrec_eval.calc_aggregate(
        [ir_measures.parse_measure(n) for n in names], counted, run
    )
    ours = evaluate_run(qrels, run, names).mean
    assert ours == pytest.approx({str(m): v for m, v in direct.items()}, abs=1e-9)


def test_agrees_with_sklearn() -> None:
    rng = np.random.default_rng(3)
    grades, scores = rng.integers(0, 4, 25), rng.normal(size=25)
    qrels = {"q": {str(i): int(g) for i, g in enumerate(grades)}}
    run = {"q": {str(i): float(s) for i, s in enumerate(scores)}}
    mean = evaluate_run(qrels, run, ["nDCG@10", "AP"]).mean
    assert mean["nDCG@10"] == pytest.approx(ndcg_score([grades], [scores], k=10), abs=1e-12)
    assert mean["AP"] == pytest.approx(average_precision_score(grades > 0, scores), abs=1e-12)


def test_scores_that_single_precision_cannot_tell_apart() -> None:
    run = {"q": {"a": 1.0 + 1e-12, "b": 1.0, "c": 1.0 - 1e-12}}
    qrels = {"q": {"a": 1}}
    assert evaluate_run(qrels, run, ["RR"]).mean["RR"] == 1.0
    # The backend by itself makes a tie of them and sorts by id.
    direct = ir_measures.pytrec_eval.calc_aggregate([ir_measures.RR], qrels, run)
    assert direct[ir_measures.RR] == pytest.approx(1 / 3)


def test_ties_by_id_descending() -> None:
    assert ranked_ids({"a": 1.0, "c": 1.0, "b": 1.0, "z": 0.5}, "q") == ["c", "b", "a", "z"]
    assert ranked_ids({"é": 1.0, "z": 1.0, "中": 1.0}, "q") == ["中", "é", "z"]
    assert ranked_ids({"a": math.inf, "b": -math.inf, "c": 0.0}, "q") == ["a", "c", "b"]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(-5, 5), min_size=1),
    st.floats(0.1, 9),
    st.floats(-9, 9),
)
def test_order_survives_a_change_of_scale(scores, factor: float, offset: float) -> None:
    moved = {d: s * factor + offset for d, s in scores.items()}
    assert ranked_ids(moved, "q") == ranked_ids(scores, "q")


def test_missing_queries_score_zero_and_foreign_ones_are_ignored(caplog) -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}, "none": {"a": 0}, "spam": {"a": -2}}
    run = {"q1": {"a": 1.0}, "q3": {}, "none": {"a": 1.0}, "other": {"a": 1.0}, "else": {"a": 1.0}}
    with caplog.at_level(logging.INFO, "rankwright"):
        result = evaluate_run(qrels, run, ["AP", "RR@10", "Judged@10"])
    assert (result.queries, result.missing) == (3, 2)
    assert result.per_query["AP"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert result.per_query["RR@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert result.mean["AP"] == pytest.approx(1 / 3)
    assert "2 queries of the run are not in the judgements" in caplog.text


def test_run_without_any_judged_query() -> None:
    result = evaluate_run({"q": {"a": 1}}, {})
    assert result.mean == {"nDCG@10": 0.0, "RR@10": 0.0, "AP": 0.0}
    assert result.missing == 1


def test_negative_grades_count_as_zero() -> None:
    run = {"q": {"spam": 2.0, "good": 1.0}}
    names = ["nDCG@10", "AP", "Bpref"]  # by itself the backend leaves -2 out of Bpref
    with_spam = evaluate_run({"q": {"spam": -2, "good": 2}}, run, names)
    without = evaluate_run({"q": {"spam": 0, "good": 2}}, run, names)
    assert with_spam == without
    assert without.mean["nDCG@10"] == pytest.approx(1 / math.log2(3))


@pytest.mark.parametrize(
    ("alias", "official"),
    [
        ("MRR@10", "RR@10"),
        ("mrr@10", "RR@10"),
        ("MAP", "AP"),
        ("MAP@5", "AP@5"),
        ("NDCG@10", "nDCG@10"),
        ("ndcg@10", "nDCG@10"),
        ("Recall@5", "R@5"),
        ("recall(rel=2)@5", "R(rel=2)@5"),
        ("Precision@5", "P@5"),
        ("Hit@3", "Success@3"),
        ("accuracy@3", "Success@3"),
        ("nDCG(gains={1:5})@3", "nDCG(gains={1:5})@3"),
    ],
)
def test_aliases(alias: str, official: str) -> None:
    qrels, run = random_case(11)
    ours = evaluate_run(qrels, run, [alias, official])
    assert list(ours.mean) == list(dict.fromkeys([alias, official]))
    assert ours.mean[alias] == ours.mean[official] > 0


@pytest.mark.parametrize(
    "name", ["", "foo", "nDCG@x", "nDCG@0", "RR@-1", "P", "R", "Success", "ERR@10", "RBP", "@10",
             "AP(rel=0)", "nDCG@1.5", "RR@10@10", "AP; import os"]
)  # fmt: skip
def test_unknown_measures(name: str) -> None:
    with pytest.raises(InputError, match=r"Choose from|cutoff|at least 1"):
        evaluate_run({"q": {"a": 1}}, {}, [name])


def test_bad_arguments() -> None:
    with pytest.raises(InputTypeError, match="list of names"):
        evaluate_run({"q": {"a": 1}}, {}, "AP")
    with pytest.raises(InputTypeError, match="is a name"):
        evaluate_run({"q": {"a": 1}}, {}, [10])  # type: ignore[list-item]
    with pytest.raises(InputError, match="empty"):
        evaluate_run({"q": {"a": 1}}, {}, [])
    with pytest.raises(EmptyDataError, match="None of the 1"):
        evaluate_run({"q": {"a": 0}}, {})
    with pytest.raises(EmptyDataError, match="None of the 0"):
        evaluate_run({}, {})
    with pytest.raises(ScoreError, match="'d7' for query 'q'"):
        evaluate_run({"q": {"a": 1}}, {"q": {"a": 1.0, "d7": math.nan}})
