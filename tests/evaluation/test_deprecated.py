"""The evaluators' names before version 4 of Sentence Transformers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwright.cross_encoder.evaluation as room
from tests.evaluation.stubs import StubModel, hashed

PAIRS = [(f"first {i}", f"second {i}") for i in range(30)]
CLASSES = [int(i % 3 == 0) for i in range(30)]
SAMPLES = [{"query": "q", "positive": ["a"], "negative": ["b", "c"]}]
OLD = {
    "CEBinaryAccuracyEvaluator": "CrossEncoderClassificationEvaluator",
    "CEBinaryClassificationEvaluator": "CrossEncoderClassificationEvaluator",
    "CEF1Evaluator": "CrossEncoderClassificationEvaluator",
    "CESoftmaxAccuracyEvaluator": "CrossEncoderClassificationEvaluator",
    "CECorrelationEvaluator": "CrossEncoderCorrelationEvaluator",
    "CERerankingEvaluator": "CrossEncoderRerankingEvaluator",
}


@dataclass
class Example:
    texts: list[str]
    label: float


def arguments(name: str) -> tuple[Any, ...]:
    if "Reranking" in name:
        return (SAMPLES,)
    return (PAIRS, np.linspace(0, 1, 30).tolist() if "Correlation" in name else CLASSES)


@pytest.mark.parametrize("name", OLD)
def test_warns_where_it_is_called_and_does_what_the_new_one_does(name: str, tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=f"{name} is deprecated; use {OLD[name]}") as caught:
        old = getattr(room, name)(*arguments(name), name="dev")
    assert caught[0].filename == __file__
    new = getattr(room, OLD[name])(*arguments(name), name="dev")
    assert isinstance(old, type(new))
    assert (old.primary_metric, old.csv_file, old.csv_headers) == (
        new.primary_metric, new.csv_file, new.csv_headers)  # fmt: skip
    found, expected = (e(StubModel(hashed), str(tmp_path / k), 1, 2)
                       for k, e in (("old", old), ("new", new)))  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert (tmp_path / "old" / old.csv_file).read_bytes() == (
        tmp_path / "new" / new.csv_file).read_bytes()  # fmt: skip


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OLD)
def test_parity(name: str) -> None:
    peer = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    theirs, ours = (getattr(m, name)(*arguments(name), name="dev")(StubModel(hashed))
                    for m in (peer, room))  # fmt: skip
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in OLD if "Reranking" not in name])
def test_from_input_examples(name: str) -> None:
    pairs, targets = arguments(name)
    examples = [Example(list(pair), t) for pair, t in zip(pairs, targets, strict=True)]
    kind = getattr(room, name)
    made = kind.from_input_examples(examples, name="dev", batch_size=5)
    assert made(StubModel(hashed)) == kind(*arguments(name), name="dev")(StubModel(hashed))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("threshold", [0.5, 0.25])
def test_accuracy_at_a_fixed_threshold(threshold: float, caplog: pytest.LogCaptureFixture) -> None:
    evaluator = room.CEBinaryAccuracyEvaluator(PAIRS, CLASSES, "dev", threshold)
    with caplog.at_level(logging.INFO):
        metrics = evaluator(StubModel(hashed))
    right = sum(
        (hashed(*pair) > threshold) == bool(label)
        for pair, label in zip(PAIRS, CLASSES, strict=True)
    )
    assert metrics[f"dev_accuracy_at_{threshold}"] == pytest.approx(right / 30)
    assert metrics[f"dev_accuracy_at_{threshold}"] < metrics["dev_accuracy"]  # the fitted one
    assert f"Accuracy: {right / 30 * 100:.2f}" in caplog.messages


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_accuracy_of_several_classes(caplog: pytest.LogCaptureFixture) -> None:
    def scores(query: str, document: str) -> list[float]:
        return [hashed(query, document), hashed(document, query), hashed(query, query)]

    labels = [i % 3 for i in range(30)]
    evaluator = room.CESoftmaxAccuracyEvaluator(PAIRS, labels, "dev")
    with caplog.at_level(logging.INFO):
        metrics = evaluator(StubModel(scores, num_labels=3))
    right = sum(int(np.argmax(scores(*p))) == c for p, c in zip(PAIRS, labels, strict=True))
    assert metrics["dev_accuracy"] == pytest.approx(right / 30)
    assert metrics["dev_accuracy"] == pytest.approx(metrics["dev_f1_micro"])
    assert f"Accuracy: {right / 30 * 100:.2f}" in caplog.messages


def test_arguments_without_effect_are_named(caplog: pytest.LogCaptureFixture) -> None:
    room.CrossEncoderClassificationEvaluator(PAIRS, CLASSES, similarity_fn_names=["cosine"])
    assert "takes no similarity_fn_names; ignored" in caplog.text
