"""Mistakes in data and settings show before training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import (
    ColumnError,
    EmptyDataError,
    InputError,
    InputTypeError,
    LabelError,
)
from rankwright.training import CrossEncoderTrainer
from tests.training.runs import FakeEvaluator, arguments
from tests.training.stub import StubEncoder, rows


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"train_dataset": {"a": []}}, EmptyDataError, r"train_dataset\['a'\] has no rows"),
        ({"train_dataset": [["q", "d", 1]]}, InputTypeError, "items are not dicts"),
        ({"train_dataset": "train.csv"}, InputTypeError, "found str"),
        ({"train_dataset": []}, EmptyDataError, "train_dataset has no rows"),
        ({"train_dataset": [{"q": "a", "label": 1}]}, ColumnError, "can hold texts"),
        ({"train_dataset": [{"q": "a", "d": "b", "label": 3}]}, LabelError, "found 3"),
        ({"loss": {"a": None}}, InputError, r"must be a dict too: train_dataset={'a': ...}"),
        ({"loss": len}, TypeError, "has no len"),
        ({"loss": 3}, InputTypeError, "found int"),
        ({"args": 3}, InputTypeError, "args must be CrossEncoderTrainingArguments"),
        ({"model": None}, InputError, "needs a model"),
        ({"evaluator": 3}, InputError, "evaluator must be callable"),
    ],
)
def test_mistakes_show_before_training(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    defaults = {"model": StubEncoder(), "args": arguments(tmp_path), "train_dataset": rows(4)}
    with pytest.raises(error, match=words):
        CrossEncoderTrainer(**(defaults | options))


def test_contradictory_settings_show_before_training(tmp_path: Path) -> None:
    model = StubEncoder()
    with pytest.raises(InputError, match="neither an eval_dataset nor an evaluator"):
        CrossEncoderTrainer(model=model, args=arguments(tmp_path, eval_strategy="epoch"))
    best = arguments(
        tmp_path, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True
    )
    with pytest.raises(InputError, match="needs metric_for_best_model"):
        CrossEncoderTrainer(model=model, args=best, evaluator=FakeEvaluator([1.0]))


def test_compute_metrics_is_not_silently_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    CrossEncoderTrainer(model=StubEncoder(), args=arguments(tmp_path), compute_metrics=len)
    assert "compute_metrics is not used" in caplog.text
