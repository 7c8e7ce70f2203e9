"""Evaluators during training: when they run, and what goes by their metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import EarlyStoppingCallback

from rankwright.errors import (
    InputError,
)
from rankwright.training import CrossEncoderTrainer
from tests.training.runs import FakeEvaluator, arguments, weights
from tests.training.stub import StubEncoder, rows


def test_evaluator_alone_chooses_the_best_model(tmp_path: Path) -> None:
    model = StubEncoder()
    evaluator = FakeEvaluator([0.3, 0.2, 0.9, 0.1])
    args = arguments(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_dev_ndcg@10",
        max_steps=6,
    )
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=rows(12), evaluator=evaluator
    )
    trainer.train()
    assert [(steps, training) for _, steps, training in evaluator.calls] == [
        (0, False),  # before the first step
        (2, False),
        (4, False),
        (6, False),
    ]
    assert trainer.state.best_metric == 0.9
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-4"
    assert (tmp_path / "eval" / "dev.csv").is_file()
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(weights(model)[name], value) for name, value in saved.items())
    last = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    assert not all(torch.equal(weights(model)[name], value) for name, value in last.items())
    logged = [e["eval_dev_ndcg@10"] for e in trainer.state.log_history if "eval_dev_ndcg@10" in e]
    assert logged == [0.3, 0.2, 0.9, 0.1]


def test_early_stopping_on_an_evaluators_metric(tmp_path: Path) -> None:
    args = arguments(
        tmp_path,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="dev_ndcg@10",
        max_steps=6,
    )
    trainer = CrossEncoderTrainer(
        model=StubEncoder(),
        args=args,
        train_dataset=rows(24),
        evaluator=FakeEvaluator([0.45, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]),
        callbacks=[EarlyStoppingCallback(2)],
    )
    trainer.train()
    assert trainer.state.global_step == 3


def test_evaluation_loss_and_several_evaluators_together(tmp_path: Path) -> None:
    model = StubEncoder()
    data = rows(10)
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path, per_device_eval_batch_size=4),
        eval_dataset=data,
        evaluator=[FakeEvaluator([0.5], "a"), FakeEvaluator([0.7], "b")],
    )
    metrics = trainer.evaluate()
    scores = model.predict([(r["query"], r["document"]) for r in data])
    labels = torch.tensor([r["label"] for r in data])
    expected = F.binary_cross_entropy_with_logits(scores, labels)
    assert metrics["eval_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["eval_a_ndcg@10"] == 0.5
    assert metrics["eval_b_ndcg@10"] == 0.7
    assert metrics["eval_sequential_score"] == 0.7
    clashing = CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path),
        evaluator=[FakeEvaluator([0.5]), FakeEvaluator([0.7])],
    )
    with pytest.raises(InputError, match="both report 'dev_ndcg@10'"):
        clashing.evaluate()
