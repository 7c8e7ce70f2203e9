from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import EmptyDataError, InputError, LabelError, ScoreError
from rankwright.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
)
from rankwright.evaluation.classification import best_accuracy, best_f1
from tests.evaluation.stubs import StubModel, hashed

PAIRS = [[f"left {i}", f"right {i}"] for i in range(60)]
LABELS = [int(hashed(*pair) + 0.4 * hashed("noise", pair[0]) > 0.8) for pair in PAIRS]
GRADES = [hashed(*pair) + hashed("noise", pair[0]) for pair in PAIRS]


def coarse(left: str, right: str) -> float:
    """Scores with many ties."""
    return round(hashed(left, right), 1)


def three(left: str, right: str) -> list[float]:
    return [hashed(left + str(i), right) for i in range(3)]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "targets", "score", "labels"),
    [
        ("Classification", LABELS, hashed, 1),
        ("Classification", LABELS, coarse, 1),
        ("Classification", [i % 3 for i in range(60)], three, 3),
        ("Correlation", GRADES, hashed, 1),
        ("Correlation", GRADES, coarse, 1),
    ],
)
@pytest.mark.parametrize("name", ["", "dev"])
def test_parity(kind: str, targets, score, labels: int, name: str, tmp_path, caplog) -> None:
    peer = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    ours = {
        "Classification": CrossEncoderClassificationEvaluator,
        "Correlation": CrossEncoderCorrelationEvaluator,
    }[kind]
    results, logs, files, mains, cards = [], [], [], [], []
    for cls in (getattr(peer, f"CrossEncoder{kind}Evaluator"), ours):
        evaluator, model = cls(PAIRS, targets, name=name), StubModel(score, labels)
        folder = tmp_path / cls.__module__
        caplog.clear()
        with caplog.at_level(logging.INFO):
            results.append(evaluator(model, str(folder), 1, 20))
        logs.append([record.getMessage() for record in caplog.records])
        files.append({p.name: p.read_text().splitlines() for p in folder.iterdir()})
        mains.append(evaluator.primary_metric)
        cards.append(model.model_card_data.stored[0][1:])
    assert mains[0] == mains[1]
    assert list(results[0]) == list(results[1])
    assert results[1] == pytest.approx(results[0], abs=1e-9)
    assert logs[1] == logs[0]
    assert cards[1][0] == pytest.approx(cards[0][0], abs=1e-9)
    assert cards[1][1:] == cards[0][1:]
    ((file, theirs),), lines = files[0].items(), next(iter(files[1].values()))
    assert list(files[1]) == [file]
    assert lines[0] == theirs[0]
    numbers = [[float(x) for x in line[1].split(",")] for line in (theirs, lines)]
    # Thresholds are single precision, and written there with as few digits as that needs.
    assert numbers[1] == pytest.approx(numbers[0], abs=1e-7)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=12).filter(
        lambda rows: any(label for _, label in rows)
    )
)
def test_thresholds_are_the_best_there_are(rows) -> None:
    scores = np.array([s for s, _ in rows], dtype=np.float32)
    labels = np.array([label for _, label in rows], dtype=np.int64)
    choices = [*np.unique(scores), np.inf]

    def judge(threshold: float) -> tuple[float, float, float, float]:
        predicted = scores >= threshold
        hits = int((predicted & (labels == 1)).sum())
        precision, recall = hits / max(predicted.sum(), 1), hits / labels.sum()
        f1 = 2 * hits / (predicted.sum() + labels.sum())
        return float((predicted == labels).mean()), f1, precision, recall

    accuracy, at = best_accuracy(scores, labels)
    assert accuracy == pytest.approx(max(judge(t)[0] for t in choices))
    assert judge(at)[0] == pytest.approx(accuracy)
    f1, precision, recall, at = best_f1(scores, labels)
    assert f1 == pytest.approx(max(judge(t)[1] for t in choices))
    assert judge(at)[1:] == pytest.approx((f1, precision, recall))


def test_thresholds_between_neighbouring_floats() -> None:
    low = np.float32(1.0)
    scores = np.array([np.nextafter(low, np.float32(2)), low], dtype=np.float32)
    labels = np.array([1, 0])
    assert best_accuracy(scores, labels)[0] == 1.0
    assert ((scores >= best_accuracy(scores, labels)[1]) == labels).all()
    assert ((scores >= best_f1(scores, labels)[3]) == labels).all()


def test_classification_checks() -> None:
    evaluator = CrossEncoderClassificationEvaluator
    with pytest.raises(InputError, match="2 sentence_pairs but 1 labels"):
        evaluator(PAIRS[:2], [1])
    with pytest.raises(EmptyDataError):
        evaluator([], [])
    with pytest.raises(InputError, match=r"sentence_pairs\[1\]"):
        evaluator([["a", "b"], ["a"]], [0, 1])
    with pytest.raises(LabelError, match="Pair 1 has label 2.* 0 to 1"):
        evaluator(PAIRS[:2], [1, 2])(StubModel(hashed))
    with pytest.raises(LabelError, match=r"label 0\.5"):
        evaluator(PAIRS[:2], [1, 0.5])(StubModel(hashed))
    with pytest.raises(LabelError, match="No pair has label 1"):
        evaluator(PAIRS[:2], [0, 0])(StubModel(hashed))
    with pytest.raises(ScoreError, match="pair 0"):
        evaluator(PAIRS[:2], [0, 1])(StubModel(lambda *_: math.nan))


def test_main_metric_is_known_before_the_first_call() -> None:
    evaluator = CrossEncoderClassificationEvaluator
    assert evaluator(PAIRS[:2], [0, 1], name="x").primary_metric == "x_average_precision"
    assert evaluator(PAIRS[:3], [0, 1, 2], name="x").primary_metric == "x_f1_macro"


def test_correlation_checks(caplog) -> None:
    evaluator = CrossEncoderCorrelationEvaluator
    with pytest.raises(LabelError, match="All 2 given scores are 1"):
        evaluator(PAIRS[:2], [1, 1])
    with pytest.raises(LabelError, match=r"scores\[1\] is nan"):
        evaluator(PAIRS[:2], [1, math.nan])
    with pytest.raises(ScoreError, match="pair 0"):
        evaluator(PAIRS[:2], [0, 1])(StubModel(lambda *_: math.inf))
    with pytest.raises(InputError, match="num_labels=1"):
        evaluator(PAIRS, GRADES)(StubModel(three, 3))
    assert evaluator(PAIRS, GRADES)(StubModel(lambda *_: 0.5)) == {"pearson": 0.0, "spearman": 0.0}
    assert "reported as 0" in caplog.text


def test_from_input_examples() -> None:
    examples = [
        SimpleNamespace(texts=pair, label=grade) for pair, grade in zip(PAIRS, GRADES, strict=True)
    ]
    made = CrossEncoderCorrelationEvaluator.from_input_examples(iter(examples), name="dev")
    plain = CrossEncoderCorrelationEvaluator(PAIRS, GRADES, "dev")
    assert made(StubModel(hashed)) == plain(StubModel(hashed))
