"""The reranking evaluator with several cutoffs, whole corpora and single samples."""

from __future__ import annotations

import numpy as np
import pytest

from rankwright.errors import (
    InputError,
    UnknownIdError,
)
from rankwright.evaluation import CrossEncoderRerankingEvaluator
from tests.evaluation.samples import random_samples, run
from tests.evaluation.stubs import StubModel, hashed

# --- several cutoffs, whole corpora, single samples


def test_several_cutoffs_against_a_whole_corpus(tmp_path) -> None:
    corpus = {f"d{i}": f"text {i}" for i in range(12)}
    queries = {"q1": "one", "q2": "two"}
    relevant = {"q1": {"d3"}, "q2": {"d4": 2, "d5": 1}}
    model = StubModel(hashed)
    evaluator = CrossEncoderRerankingEvaluator(
        name="mined",
        queries=queries,
        relevant_docs=relevant,
        corpus=corpus,
        mrr_at_k=[10, 100],
        ndcg_at_k=[3, 100],
        accuracy_at_k=[1, 12],
    )
    result = evaluator(model, str(tmp_path))
    assert list(result) == [
        f"mined_{key}" for key in ("map", "mrr@10", "mrr@100", "ndcg@3", "ndcg@100", "accuracy@1",
                                   "accuracy@12")
    ]  # fmt: skip
    assert len(model.calls[0]) == 24
    ranks = [
        1 + sum(hashed(text, other) > hashed(text, corpus[doc]) for other in corpus.values())
        for text, doc in [("one", "d3"), ("two", "d4"), ("two", "d5")]
    ]
    first = [ranks[0], min(ranks[1:])]
    assert result["mined_mrr@100"] == pytest.approx(sum(1 / r for r in first) / 2)
    assert result["mined_accuracy@1"] == sum(r == 1 for r in first) / 2
    assert result["mined_accuracy@12"] == 1.0
    assert evaluator.primary_metric == "mined_ndcg@3"
    header = (tmp_path / evaluator.csv_file).read_text().splitlines()[0]
    assert header == "epoch,steps,MAP,MRR@10,MRR@100,NDCG@3,NDCG@100,Accuracy@1,Accuracy@12"
    with pytest.raises(UnknownIdError, match="'nowhere' for query 'q1'"):
        CrossEncoderRerankingEvaluator(
            queries=queries, relevant_docs={"q1": ["nowhere"]}, corpus=corpus
        )


def test_values_per_sample() -> None:
    samples = [*random_samples("missed", n=6), *random_samples("negative", n=3)]
    evaluator = CrossEncoderRerankingEvaluator(samples)
    model = StubModel(hashed)
    detail, means = evaluator.evaluate(model), evaluator(model)
    assert len(detail.reranked["map"]) == 9
    assert detail.base is not None
    assert len(detail.base["map"]) == 6
    for key, values in detail.reranked.items():
        assert means[key] == pytest.approx(np.mean(values))
        assert means[f"base_{key}"] == pytest.approx(np.mean(detail.base[key]))
        for sample, value in zip(samples, values, strict=True):
            assert run([sample])[key] == pytest.approx(value)


def test_many_documents_take_linear_time() -> None:
    texts = [f"{'long ' * 50}{i}" for i in range(20_000)]
    samples = [{"query": "q", "positive": texts[:10_000], "documents": texts}]
    import time

    started = time.process_time()
    run(samples, StubModel(lambda q, d: float(len(d))))
    assert time.process_time() - started < 3


def test_old_name_of_the_cutoff(caplog) -> None:
    samples = random_samples("negative")
    evaluator = CrossEncoderRerankingEvaluator(samples, mrr_at_k=3)
    assert evaluator.csv_headers == ["epoch", "steps", "MAP", "MRR@3", "NDCG@3"]
    assert evaluator.csv_file == "CrossEncoderRerankingEvaluator_results_@3.csv"
    assert "at_k=3" in caplog.text


def test_no_file_unless_asked(tmp_path) -> None:
    samples = random_samples("negative")
    CrossEncoderRerankingEvaluator(samples, write_csv=False)(StubModel(hashed), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- several cutoffs, recall and precision


def test_several_cutoffs_recall_and_precision(tmp_path) -> None:
    samples = random_samples("missed", seed=4)
    for sample in samples:
        sample["positive"] = {text: 1 + i for i, text in enumerate(sample["positive"])}
    ks = [3, 1, 40]
    evaluator = CrossEncoderRerankingEvaluator(
        samples, at_k=ks, recall_at_k=ks, precision_at_k=5, always_rerank_positives=False
    )
    found = evaluator(StubModel(hashed), str(tmp_path))
    assert evaluator.primary_metric == "ndcg@3"
    assert evaluator.csv_headers[2:] == [
        "MAP", *(f"MRR@{k}" for k in ks), *(f"NDCG@{k}" for k in ks),
        *(f"Recall@{k}" for k in ks), "Precision@5",
    ]  # fmt: skip
    for key in ("recall@3", "recall@1", "recall@40", "precision@5"):
        metric, k = key.split("@")[0], int(key.split("@")[1])
        for start in ("", "base_"):
            total = 0.0
            for sample in samples:
                ranking = list(sample["documents"])
                if not start and set(ranking) & set(sample["positive"]):
                    ranking.sort(key=lambda d, q=sample["query"]: -hashed(q, d))
                hits = sum(document in sample["positive"] for document in ranking[:k])
                total += hits / (len(sample["positive"]) if metric == "recall" else k)
            assert found[start + key] == pytest.approx(total / len(samples)), start + key
    assert found["recall@1"] < found["recall@3"] < found["recall@40"] < 1


@pytest.mark.parametrize("cutoffs", [[], [10, 0], [True], ["10"]])
def test_wrong_cutoffs(cutoffs) -> None:
    with pytest.raises(InputError, match="cutoff"):
        CrossEncoderRerankingEvaluator(random_samples("negative"), at_k=cutoffs)
