"""What the model was worth before training, and what follows from it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from rankwright.errors import InputError, TrainingError
from rankwright.evaluation import CrossEncoderRerankingEvaluator
from rankwright.model import CrossEncoder
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.training.baseline import FOLDER
from tests.tiny import tiny_model
from tests.training.stub import StubEncoder, rows


class Scripted:
    """Returns the values it was given, one after another."""

    primary_metric = "dev_ndcg@10"

    def __init__(self, values: list[float], first_stage: float | None = None) -> None:
        self.values = list(values)
        self.first_stage = first_stage
        self.steps: list[int] = []

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        self.steps.append(steps)
        torch.rand(3), random.random(), np.random.rand()  # must not disturb training
        found = {"dev_ndcg@10": self.values[len(self.steps) - 1]}
        return (
            found if self.first_stage is None else {"dev_base_ndcg@10": self.first_stage, **found}
        )


def arguments(folder: Path, **options: Any) -> CrossEncoderTrainingArguments:
    options = {
        "max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2,
        "learning_rate": 1e-2, "metric_for_best_model": "eval_dev_ndcg@10",
        "load_best_model_at_end": True,
    } | options  # fmt: skip
    return CrossEncoderTrainingArguments(
        str(folder), use_cpu=True, per_device_train_batch_size=4, disable_tqdm=True,
        report_to="none", on_leak="ignore", **options,
    )  # fmt: skip


def train(folder: Path, evaluator: Any, resume: bool = False, **options: Any) -> Any:
    callbacks = options.pop("callbacks", None)
    model = StubEncoder(hidden_dropout_prob=0.1)
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(folder, **options), train_dataset=rows(24),
        evaluator=evaluator, callbacks=callbacks,
    )  # fmt: skip
    trainer.start = {name: value.clone() for name, value in model.model.state_dict().items()}
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def same(weights: dict[str, Any], others: dict[str, Any]) -> bool:
    return all(torch.equal(weights[name], others[name]) for name in weights)


def is_at_start(trainer: Any) -> bool:
    return same(trainer.start, trainer.model.model.state_dict())


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_evaluates_before_the_first_step_and_logs_it(tmp_path: Path) -> None:
    evaluator = Scripted([0.1, 0.2, 0.3, 0.4], first_stage=0.15)
    trainer = train(tmp_path, evaluator)
    assert evaluator.steps == [0, 2, 4, 6]
    entries = [e for e in trainer.state.log_history if "eval_dev_ndcg@10" in e]
    assert [(e["step"], e["eval_dev_ndcg@10"]) for e in entries] == [
        (0, 0.1), (2, 0.2), (4, 0.3), (6, 0.4)]  # fmt: skip
    assert entries[0]["eval_dev_base_ndcg@10"] == 0.15
    assert trainer.baseline.metrics["eval_dev_ndcg@10"] == 0.1
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["log_history"][0]["eval_dev_ndcg@10"] == 0.1


def test_the_best_checkpoint_beats_the_base(tmp_path: Path, caplog: Any) -> None:
    trainer = train(tmp_path, Scripted([0.3, 0.2, 0.5, 0.4], first_stage=0.1))
    assert trainer.state.best_global_step == 4
    assert trainer.state.best_metric == 0.5
    assert same(weights_of(tmp_path / "checkpoint-4"), trainer.model.model.state_dict())
    assert not trainer.baseline.kept
    assert not (tmp_path / FOLDER).exists()  # not needed any more
    assert trainer.baseline.notes == {
        "before training": "eval_dev_ndcg@10 0.3000",
        "first stage": "eval_dev_ndcg@10 0.1000",
    }
    assert not caplog.records


@pytest.mark.parametrize("last", [0.6, 0.7])  # no better is not better
def test_a_base_that_nothing_beats_is_kept(tmp_path: Path, last: float, caplog: Any) -> None:
    trainer = train(tmp_path, Scripted([0.7, 0.6, 0.5, last]))
    assert is_at_start(trainer)
    assert trainer.baseline.kept
    assert trainer.state.best_global_step == 0
    assert trainer.state.best_metric == 0.7
    assert trainer.state.best_model_checkpoint == str(tmp_path / FOLDER)
    assert same(weights_of(tmp_path / FOLDER), trainer.start)
    assert "Training did not help: none of 3 evaluations reached more than" in caplog.text
    assert "weights from before training were put back" in caplog.text
    assert "no checkpoint was better" in trainer.baseline.notes["weights"]


@pytest.mark.parametrize("values", [[0.2, 0.3, 0.4, 0.5], [0.5, 0.1, 0.2, 0.3]])
def test_lower_can_be_better(tmp_path: Path, values: list[float]) -> None:
    trainer = train(tmp_path, Scripted(values), greater_is_better=False)
    assert trainer.baseline.kept is (values[0] == 0.2)
    assert trainer.state.best_metric == min(values)


def test_not_asked_for(tmp_path: Path) -> None:
    evaluator = Scripted([0.1, 0.2, 0.05])
    trainer = train(tmp_path, evaluator, evaluate_base=False)
    assert evaluator.steps == [2, 4, 6]
    assert trainer.baseline.metrics is None
    assert trainer.state.best_global_step == 4
    assert not (tmp_path / FOLDER).exists()


def test_eval_on_start_is_not_done_twice(tmp_path: Path) -> None:
    evaluator = Scripted([0.7, 0.2, 0.3, 0.4])
    trainer = train(tmp_path, evaluator, eval_on_start=True)
    assert evaluator.steps == [0, 2, 4, 6]
    assert trainer.baseline.kept
    assert is_at_start(trainer)


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_training_is_the_same_with_and_without(tmp_path: Path, limit: int | None) -> None:
    options: dict[str, Any] = {"load_best_model_at_end": False, "save_total_limit": limit}
    asked = train(tmp_path / "a", Scripted([0.1, 0.2, 0.3, 0.4]), **options)
    plain = train(tmp_path / "b", Scripted([0.2, 0.3, 0.4]), evaluate_base=False, **options)
    assert same(asked.model.model.state_dict(), plain.model.model.state_dict())
    listed = [sorted(p.name for p in (tmp_path / x).iterdir() if "check" in p.name) for x in "ab"]
    assert listed[0] == listed[1]


@pytest.mark.parametrize("values", [[0.7, 0.1, 0.2, 0.3], [0.1, 0.5, 0.2, 0.3]])
def test_limited_checkpoints_keep_the_best_and_the_newest(
    tmp_path: Path, values: list[float]
) -> None:
    train(tmp_path, Scripted(values), save_total_limit=2)
    kept = sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("checkpoint"))
    assert kept == (["checkpoint-4", "checkpoint-6"] if values[0] == 0.7 else
                    ["checkpoint-2", "checkpoint-6"])  # fmt: skip


class Killed(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("best", ["base", "checkpoint"])
def test_a_resumed_run_knows_its_base(tmp_path: Path, best: str) -> None:
    base = 0.7 if best == "base" else 0.1
    whole = train(tmp_path / "whole", Scripted([base, 0.2, 0.3, 0.25]))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", Scripted([base, 0.2, 0.3]), callbacks=[Killed()])
    evaluator = Scripted([0.25])
    resumed = train(tmp_path / "cut", evaluator, resume=True)
    assert evaluator.steps == [6]
    assert resumed.baseline.metrics["eval_dev_ndcg@10"] == base
    assert resumed.baseline.kept is whole.baseline.kept is (best == "base")
    assert resumed.baseline.notes == whole.baseline.notes
    assert same(resumed.model.model.state_dict(), whole.model.model.state_dict())


def test_a_base_that_is_gone_is_admitted(tmp_path: Path, caplog: Any) -> None:
    import shutil

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Scripted([0.7, 0.2, 0.3]), callbacks=[Killed()])
    shutil.rmtree(tmp_path / FOLDER)
    trainer = train(tmp_path, Scripted([0.25]), resume=True)
    assert not trainer.baseline.kept
    assert f"are gone from {FOLDER}" in caplog.text


def test_early_stopping_counts_from_the_base(tmp_path: Path) -> None:
    evaluator = Scripted([0.7, 0.1, 0.2, 0.3])
    trainer = train(tmp_path, evaluator, callbacks=[EarlyStoppingCallback(2)], max_steps=20)
    assert evaluator.steps == [0, 2, 4]
    assert is_at_start(trainer)


@pytest.mark.parametrize("values", [[0.7, 0.1, 0.2, 0.3], [0.15, 0.1, 0.2, 0.18]])
def test_saving_only_the_best(tmp_path: Path, values: list[float]) -> None:
    trainer = train(tmp_path, Scripted(values), save_strategy="best")
    saved = sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("checkpoint"))
    assert saved == ([] if values[0] == 0.7 else ["checkpoint-4"])
    assert trainer.baseline.kept is (values[0] == 0.7)


def test_without_choosing_a_worse_model_is_named(tmp_path: Path, caplog: Any) -> None:
    trainer = train(
        tmp_path, Scripted([0.7, 0.9, 0.8, 0.6], first_stage=0.65),
        load_best_model_at_end=False, metric_for_best_model=None,
    )  # fmt: skip
    assert not is_at_start(trainer)
    assert "worse than before training: eval_dev_ndcg@10 was 0.7000 and is 0.6000" in caplog.text
    assert "ranks worse than the lists it was given: eval_dev_ndcg@10 is 0.6000" in caplog.text
    caplog.clear()
    train(tmp_path, Scripted([0.7, 0.9, 0.8, 0.75], first_stage=0.65),
          load_best_model_at_end=False, metric_for_best_model=None)  # fmt: skip
    assert not caplog.records


def test_the_loss_as_what_is_chosen_by(tmp_path: Path) -> None:
    """A learning rate that ruins the model: the loss on held-out rows never gets better."""
    trainer = CrossEncoderTrainer(
        model=StubEncoder(),
        args=arguments(tmp_path, metric_for_best_model="loss", learning_rate=0.5),
        train_dataset=rows(24), eval_dataset=rows(8, seed=5),
    )  # fmt: skip
    start = {name: value.clone() for name, value in trainer.model.model.state_dict().items()}
    trainer.train()
    losses = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    assert len(losses) == 4
    assert losses[0] < min(losses[1:])
    assert trainer.baseline.kept
    assert same(start, trainer.model.model.state_dict())


def test_a_misspelt_metric_shows_before_the_first_step(tmp_path: Path) -> None:
    evaluator = Scripted([0.1, 0.2])
    with pytest.raises(InputError, match="'eval_dev_ndgc@10', which no evaluator reports; choose "
                       "one of 'eval_dev_ndcg@10'"):  # fmt: skip
        train(tmp_path, evaluator, metric_for_best_model="eval_dev_ndgc@10")
    assert evaluator.steps == [0]


def test_values_that_are_no_numbers_are_named(tmp_path: Path, caplog: Any) -> None:
    trainer = train(tmp_path, Scripted([math.nan, 0.2, math.nan, 0.1]))
    assert trainer.state.best_global_step == 2
    assert "Step 0: Scripted reports dev_ndcg@10 = nan" in caplog.text
    assert "Step 4: Scripted reports dev_ndcg@10 = nan" in caplog.text


def test_a_loss_that_is_no_number_in_evaluation_is_named(tmp_path: Path) -> None:
    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(tmp_path, eval_strategy="no", save_strategy="no",
        load_best_model_at_end=False, metric_for_best_model=None),
        train_dataset=rows(8), eval_dataset=rows(6),
    )  # fmt: skip
    with torch.no_grad():
        trainer.model.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="evaluation loss is nan at step 0; 6 of 6 scores"):
        trainer.evaluate()


def test_functions_and_numbers_as_evaluators(tmp_path: Path) -> None:
    def first(model: Any, output_path: str, epoch: float, steps: int) -> float:
        return 1 - steps / 10

    def second(model: Any, output_path: str, epoch: float, steps: int) -> Any:
        return torch.tensor(steps)

    trainer = train(tmp_path, [first, second], metric_for_best_model="evaluator_0")
    assert trainer.baseline.kept
    entry = trainer.state.log_history[0]
    assert (entry["eval_evaluator_0"], entry["eval_evaluator_1"]) == (1.0, 0.0)
    assert entry["eval_sequential_score"] == 0.0
    with pytest.raises(InputError, match="evaluator nothing returned None"):
        train(tmp_path, nothing)


def nothing(model: Any, output_path: str, epoch: float, steps: int) -> None:
    return None


def test_a_real_model_and_evaluator(tmp_path: Path) -> None:
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    words = "sort files by size name date list copy move open".split()
    samples = [
        {"query": w, "positive": [f"{w} table"], "documents": [f"{x} table" for x in words]}
        for w in words
    ]
    evaluator = CrossEncoderRerankingEvaluator(samples, name="dev")
    before = evaluator(model)
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path, learning_rate=1e-3), train_dataset=rows(24),
        evaluator=evaluator,
    )  # fmt: skip
    trainer.train()
    assert trainer.baseline.metrics is not None
    for key, value in before.items():
        assert trainer.baseline.metrics[f"eval_{key}"] == pytest.approx(value, abs=1e-6)
    assert trainer.baseline.notes["first stage"].startswith("eval_dev_ndcg@10 ")
    csv = tmp_path / "eval" / "CrossEncoderRerankingEvaluator_dev_results_@10.csv"
    assert len(csv.read_text().splitlines()) == 5


# --- collapse, in training


def test_training_that_learns_raises_no_alarm(tmp_path: Path, caplog: Any) -> None:
    """Labels that follow from the text; a run long enough to be judged."""
    data = [
        {"query": "sort", "document": f"{w} {x}", "label": float(w == "open")}
        for w in ("open", "copy", "list", "move") for x in ("file", "table", "date", "name")
    ]  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=StubEncoder(hidden_dropout_prob=0.1),
        args=arguments(tmp_path, max_steps=80, eval_strategy="no", save_strategy="no",
                       load_best_model_at_end=False, metric_for_best_model=None,
                       learning_rate=2e-3),
        train_dataset=data,
    )  # fmt: skip
    trainer.train()
    assert trainer.collapse.found == {}
    assert not caplog.records


def test_a_dead_model_is_named_and_training_stops(tmp_path: Path, caplog: Any) -> None:
    model = StubEncoder()
    with torch.no_grad():  # the head sees nothing and passes nothing on
        model.model.classifier.weight.zero_()
    model.model.classifier.weight.requires_grad_(False)
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=100, eval_strategy="no", save_strategy="no",
                       load_best_model_at_end=False, metric_for_best_model=None,
                       on_collapse="stop"),
        train_dataset=rows(24),
    )  # fmt: skip
    trainer.train()
    assert trainer.collapse.found == {"constant scores": 64}
    assert trainer.state.global_step == 64
    assert "on_collapse='stop'" in caplog.text
