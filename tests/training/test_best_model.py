"""When evaluations are due, and which model counts as the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback

from rankwright import CrossEncoderTrainer, SequentialEvaluator
from rankwright.training.checkpoints import MARKER
from tests.training.runs import weights
from tests.training.scripted import EVERY_STEP, Script, trainer_for
from tests.training.stub import StubEncoder


def best_of(trainer: CrossEncoderTrainer) -> str:
    trainer.train()
    return Path(trainer.state.best_model_checkpoint).name


@pytest.mark.parametrize(
    ("metric", "asked", "greater", "given", "expected"),
    [
        ("dev_ndcg@10", "eval_dev_ndcg@10", True, None, "checkpoint-2"),
        ("dev_ndcg@10", "dev_ndcg@10", True, None, "checkpoint-2"),
        ("org/data_map", "eval_org/data_map", True, None, "checkpoint-2"),
        ("dev_mse", "eval_dev_mse", True, None, "checkpoint-2"),  # the evaluator knows better
        ("dev_gap", "eval_dev_gap", False, None, "checkpoint-1"),
        ("dev_gap", "eval_dev_gap", False, True, "checkpoint-2"),  # the user knows best
    ],
)
def test_the_best_model_by_any_metric(
    tmp_path: Path, metric: str, asked: str, greater: bool, given: bool | None, expected: str
) -> None:
    judge = Script([0.1, 0.9, 0.5], metric, greater)
    trainer = trainer_for(
        tmp_path, evaluator=judge, metric_for_best_model=asked, greater_is_better=given,
        **EVERY_STEP,
    )  # fmt: skip
    assert best_of(trainer) == expected
    best = StubEncoder()
    from rankwright.training.weights import load_weights

    load_weights(best.model, trainer.state.best_model_checkpoint)
    for name, value in weights(best).items():
        assert torch.equal(trainer.model.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("metric", "expected"), [("dev_rmse", "checkpoint-1"), ("dev_twin", "checkpoint-2")]
)
def test_names_of_errors_are_better_lower(tmp_path: Path, metric: str, expected: str) -> None:
    scores = iter([0.1, 0.9, 0.5])
    trainer = trainer_for(
        tmp_path, evaluator=lambda *a, **k: {metric: next(scores)},
        metric_for_best_model=f"eval_{metric}", **EVERY_STEP,
    )  # fmt: skip
    assert best_of(trainer) == expected


def test_an_evaluator_inside_another_is_asked_too(tmp_path: Path) -> None:
    nested = SequentialEvaluator([Script([1, 1, 1]), Script([0.3, 0.1, 0.2], "b_gap", False)])
    trainer = trainer_for(
        tmp_path, evaluator=nested, metric_for_best_model="eval_b_gap", **EVERY_STEP
    )
    assert best_of(trainer) == "checkpoint-2"


def test_a_metric_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1]), metric_for_best_model="eval_ndcg", **EVERY_STEP
    )
    with pytest.raises(KeyError, match="dev_ndcg@10"):
        trainer.train()


def test_save_strategy_best_saves_improvements_only(tmp_path: Path) -> None:
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1, 0.5, 0.4, 0.6]), max_steps=4, eval_strategy="steps",
        eval_steps=1, save_strategy="best", metric_for_best_model="eval_dev_ndcg@10",
    )  # fmt: skip
    trainer.train()
    saved = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    assert saved == ["checkpoint-1", "checkpoint-2", "checkpoint-4"]
    assert all((tmp_path / name / MARKER).is_file() for name in saved)


def test_early_stopping(tmp_path: Path) -> None:
    options = EVERY_STEP | {"max_steps": 6}
    trainer = trainer_for(
        tmp_path, evaluator=Script([0.1, 0.5, 0.4, 0.3, 0.9]),
        metric_for_best_model="eval_dev_ndcg@10",
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)], **options,
    )  # fmt: skip
    assert best_of(trainer) == "checkpoint-2"
    assert trainer.state.global_step == 4


def evaluated(trainer: CrossEncoderTrainer) -> list[int]:
    return [e["step"] for e in trainer.state.log_history if "eval_dev_ndcg@10" in e]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"eval_strategy": "steps", "eval_steps": 2}, [2, 4]),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, [1, 2, 3, 4]),
        ({"eval_strategy": "steps", "eval_steps": 1, "eval_delay": 3}, [3, 4]),
        ({"eval_strategy": "epoch"}, [3, 4]),
        ({"eval_on_start": True}, [0]),
        ({"eval_on_start": True, "evaluate_base": True}, [0]),
        ({"eval_strategy": "steps", "eval_steps": 4, "evaluate_base": True}, [0, 4]),
    ],
)
def test_when_evaluators_run(tmp_path: Path, options: dict[str, Any], steps: list[int]) -> None:
    trainer = trainer_for(tmp_path, evaluator=Script([0.5] * 9), max_steps=4, **options)
    trainer.train()
    assert evaluated(trainer) == steps
