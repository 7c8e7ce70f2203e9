"""The reranking evaluator: its values, and what is mended in them."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from rankwright.errors import (
    ScoreError,
)
from rankwright.evaluation import CrossEncoderRerankingEvaluator
from tests.evaluation.samples import by_table, random_samples, run
from tests.evaluation.stubs import StubModel, hashed

LOGGER = "rankwright.evaluation.reranking"


# --- the same values as Sentence Transformers, where those are right


@pytest.mark.peer
@pytest.mark.parametrize("at_k", [1, 5, 10])
@pytest.mark.parametrize(
    ("kind", "always"),
    [("negative", True), ("documents", True), ("documents", False), ("missed", True)],
)
def test_parity(kind: str, always: bool, at_k: int, tmp_path, caplog) -> None:
    peer = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    samples = random_samples(kind)
    samples[3]["positive"] = samples[3]["positive"][0]  # a bare string
    options = {"at_k": at_k, "always_rerank_positives": always, "name": "dev"}
    results, logs, files, cards = [], [], [], []
    for cls in (peer.CrossEncoderRerankingEvaluator, CrossEncoderRerankingEvaluator):
        evaluator, model = cls(dict(enumerate(samples)), **options), StubModel(hashed)
        folder = tmp_path / cls.__module__
        caplog.clear()
        with caplog.at_level(logging.INFO):
            results.append(evaluator(model, str(folder), 1, 20))
            evaluator(model, str(folder), 2)
        logs.append([r.getMessage() for r in caplog.records if "Evaluator" in r.getMessage()
                     or "@" in r.getMessage() or "Queries" in r.getMessage()
                     or "MAP" in r.getMessage() or "Base" in r.getMessage()])  # fmt: skip
        files.append({p.name: p.read_text().splitlines() for p in folder.iterdir()})
        cards.append(model.model_card_data.stored[0][1:])
        assert evaluator.primary_metric == f"dev_ndcg@{at_k}"
        assert (
            evaluator.get_config_dict()
            == peer.CrossEncoderRerankingEvaluator(samples, **options).get_config_dict()
        )
    if kind == "missed":  # the first stage's own values differ on purpose: see the test below
        results = [{k: v for k, v in r.items() if "base" not in k} for r in results]
    else:
        assert logs[0] == logs[1]
        assert cards[0][0] == pytest.approx(cards[1][0], abs=1e-9)
    assert list(results[0]) == list(results[1])
    assert results[1] == pytest.approx(results[0], abs=1e-9)
    assert files[0].keys() == files[1].keys()
    for name, lines in files[0].items():
        assert lines[0] == files[1][name][0]
        for theirs, ours in zip(lines[1:], files[1][name][1:], strict=True):
            numbers = [[float(x) for x in line.split(",")] for line in (theirs, ours)]
            assert numbers[1] == pytest.approx(numbers[0], abs=1e-9)


def test_report(caplog) -> None:
    samples = [
        {"query": "q", "positive": ["a"], "documents": ["x", "a"]},
        {"query": "r", "positive": ["a", "b"], "documents": ["a", "b", "x"]},
    ]
    with caplog.at_level(logging.INFO, LOGGER):
        run(samples, by_table(a=3, b=2, x=1), name="gooaq-dev")
    assert [record.getMessage() for record in caplog.records] == [
        "CrossEncoderRerankingEvaluator: Evaluating the model on the gooaq-dev dataset:",
        "Queries: 2\tPositives: Min 1.0, Mean 1.5, Max 2.0\tNegatives: Min 1.0, Mean 1.0, Max 1.0",
        "         Base  -> Reranked",
        "MAP:     75.00 -> 100.00",
        "MRR@10:  75.00 -> 100.00",
        "NDCG@10: 81.55 -> 100.00",
    ]


def test_one_call_with_every_pair() -> None:
    model = StubModel(hashed)
    run(random_samples("negative"), model, prompt_name="p", batch_size=5)
    assert model.options == [{"batch_size": 5, "show_progress_bar": False, "prompt_name": "p"}]


# --- what is mended


def test_missed_positives_cap_the_score() -> None:
    samples = [{"query": "q", "positive": ["a", "missed"], "documents": ["x", "a"]}]
    result = run(samples, by_table(a=2, x=1), always_rerank_positives=False)
    assert result["map"] == pytest.approx(1 / 2)
    assert result["ndcg@10"] == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert result["mrr@10"] == 1.0
    assert result["base_map"] == pytest.approx(1 / 4)
    assert result["base_ndcg@10"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    with_all = run(samples, by_table(a=2, x=1, missed=3))
    assert with_all["map"] == with_all["ndcg@10"] == 1.0
    assert with_all["base_map"] == result["base_map"]


def test_nothing_found_scores_zero_without_asking_the_model() -> None:
    samples = [
        {"query": "q", "positive": ["missed"], "documents": ["x", "y"]},
        {"query": "q", "positive": ["a"], "documents": ["a", "x"]},
    ]
    model = by_table(a=2, x=1)
    result = run(samples, model, always_rerank_positives=False)
    assert result["map"] == result["base_map"] == 0.5
    assert model.calls == [[("q", "a"), ("q", "x")]]


@pytest.mark.parametrize("always", [True, False])
def test_empty_documents(always: bool) -> None:
    samples = [{"query": "q", "positive": ["a"], "documents": []}]
    result = run(samples, by_table(a=1), always_rerank_positives=always)
    assert result["base_ndcg@10"] == result["base_map"] == 0.0
    assert result["ndcg@10"] == result["map"] == float(always)


@pytest.mark.parametrize("key", ["documents", "negative"])
def test_one_document(key: str) -> None:
    others = {"documents": ["a"], "negative": []}[key]
    result = run([{"query": "q", "positive": ["a"], key: others}], by_table(a=0.0))
    assert result["ndcg@10"] == result["map"] == result["mrr@10"] == 1.0


def test_samples_without_positives_score_zero_and_are_counted(caplog) -> None:
    samples = [
        {"query": "q", "positive": [], "negative": ["x"]},
        {"query": "r", "positive": ["a"], "negative": ["x"]},
    ]
    model = by_table(a=2, x=1)
    result = run(samples, model)
    assert result["map"] == result["ndcg@10"] == 0.5
    assert model.calls == [[("r", "a"), ("r", "x")]]
    assert "1 samples have no relevant document" in caplog.text


@pytest.mark.parametrize(
    ("documents", "expected"), [(["a", "x", "y", "z"], 1 / 4), (["z", "y", "x", "a"], 1 / 4)]
)
def test_all_tied_is_the_worst_ranking(documents: list[str], expected: float) -> None:
    samples = [{"query": "q", "positive": ["a"], "documents": documents}]
    result = run(samples, StubModel(lambda q, d: 0.7))
    assert result["mrr@10"] == result["map"] == expected
    assert result["ndcg@10"] == pytest.approx(1 / math.log2(5))
    assert run(samples, StubModel(lambda q, d: 0.7), at_k=3)["ndcg@3"] == 0.0


def test_ties_among_grades_are_worst_case_too() -> None:
    samples = [{"query": "q", "positive": {"a": 3, "b": 1}, "negative": ["x"]}]
    result = run(samples, by_table(a=1, b=1, x=0))
    best = 3 + 1 / math.log2(3)
    assert result["ndcg@10"] == pytest.approx((1 + 3 / math.log2(3)) / best)
    assert result["map"] == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers(bad: float) -> None:
    samples = [{"query": "which", "positive": ["a"], "negative": ["x"]}]
    with pytest.raises(ScoreError, match="query 'which' and document 'x'; 1 of 2"):
        run(samples, by_table(a=1, x=bad))


def test_duplicates_are_ranked_once() -> None:
    once = [{"query": "q", "positive": ["a"], "documents": ["x", "a", "y"]}]
    twice = [{"query": "q", "positive": ["a", "a"], "documents": ["x", "x", "a", "y", "a"]}]
    model = by_table(a=2, x=3, y=1)
    assert run(twice, model) == run(once, by_table(a=2, x=3, y=1))
    assert len(model.calls[0]) == 3
    both = [{"query": "q", "positive": ["a"], "negative": ["a", "x"]}]
    model = by_table(a=2, x=3)
    assert run(both, model)["mrr@10"] == 0.5
    assert len(model.calls[0]) == 2


# --- graded relevance


def test_graded_relevance_both_ways() -> None:
    documents = ["x", "good", "best", "y"]
    graded = [{"query": "q", "documents": documents, "relevance": [0, 1, 3, 0]}]
    named = [{"query": "q", "documents": documents, "positive": {"good": 1, "best": 3}}]
    scores = {"x": 1.0, "good": 4.0, "best": 3.0, "y": 2.0}
    result = run(graded, by_table(**scores))
    assert result == run(named, by_table(**scores))
    best = 3 + 1 / math.log2(3)
    assert result["ndcg@10"] == pytest.approx((1 + 3 / math.log2(3)) / best)
    assert result["base_ndcg@10"] == pytest.approx((1 / math.log2(3) + 3 / 2) / best)
    assert result["map"] == 1.0
    missed = [{**graded[0], "positive": ["good", "missed"]}]
    assert run(missed, by_table(**scores, missed=0.0))["map"] == pytest.approx((1 + 1 + 3 / 5) / 3)


def test_graded_against_sklearn() -> None:
    from sklearn.metrics import average_precision_score, ndcg_score

    rng = np.random.default_rng(8)
    samples, expected = [], []
    for q in range(20):
        texts = [f"{q}-{i}" for i in range(15)]
        grades = rng.integers(0, 4, 15)
        grades[0] = 2
        samples.append({"query": "q", "documents": texts, "relevance": grades.tolist()})
        scores = np.array([hashed("q", t) for t in texts])
        expected.append(
            (ndcg_score([grades], [scores], k=10), average_precision_score(grades > 0, scores))
        )
    result = run(samples)
    mean = np.mean(expected, axis=0)
    assert [result["ndcg@10"], result["map"]] == pytest.approx(mean, abs=1e-9)
