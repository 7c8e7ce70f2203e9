from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from rankwright import CrossEncoder, CrossEncoderTrainer
from rankwright.errors import InputError, MissingDependencyError
from rankwright.losses import BinaryCrossEntropyLoss
from tests.training.runs import arguments
from tests.training.stub import StubEncoder, rows

RATES = [1e-5, 3e-2, 1e-3]


def space(trial: Any) -> dict[str, Any]:
    return {"learning_rate": trial.suggest_categorical("learning_rate", RATES)}


def grid() -> dict[str, Any]:
    return {"sampler": optuna.samplers.GridSampler({"learning_rate": RATES}, seed=0)}


def stub() -> StubEncoder:
    return StubEncoder()


class Judge:
    """Prefers weights that moved far; its score can be known from the weights alone."""

    name = "far"
    primary_metric = "far_distance"
    greater_is_better = True

    def __init__(self) -> None:
        start = StubEncoder()
        self.start = {n: v.clone() for n, v in start.model.state_dict().items()}
        self.folders: list[str] = []

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        self.folders.append(Path(output_path).parent.name)
        moved = [(v - self.start[n]).norm() for n, v in model.model.state_dict().items()]
        return {"far_distance": float(torch.stack(moved).sum()), "far_other": -1e6}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def trainer_for(folder: Path, **options: Any) -> CrossEncoderTrainer:
    made = arguments(
        folder, max_steps=3, eval_strategy="steps", eval_steps=3, save_strategy="steps",
        save_steps=3, **options.pop("args", {}),
    )  # fmt: skip
    options.setdefault("model_init", stub)
    return CrossEncoderTrainer(args=made, train_dataset=rows(12), **options)


def test_on_an_evaluators_metric_each_trial_alone(tmp_path: Path) -> None:
    judge = Judge()
    trainer = trainer_for(tmp_path, evaluator=judge)
    best = trainer.hyperparameter_search(space, n_trials=3, backend="optuna", **grid())
    assert best.hyperparameters == {"learning_rate": 3e-2}
    assert sorted(set(judge.folders)) == ["run-0", "run-1", "run-2"]
    states = {}
    for number in range(3):
        state = tmp_path / f"run-{number}" / "checkpoint-3" / "trainer_state.json"
        found = json.loads(state.read_text())
        states[found["trial_params"]["learning_rate"]] = found
        assert (tmp_path / f"run-{number}" / "eval").is_dir()
    assert not (tmp_path / "checkpoint-3").exists()
    # A trial is what a training with these settings alone would be: nothing of the others stays.
    alone = Judge()
    args = {"learning_rate": 1e-3}
    lone = trainer_for(tmp_path / "alone", evaluator=alone, args=args)
    lone.train()
    entry = next(e for e in lone.state.log_history[::-1] if "eval_far_distance" in e)
    third = next(e for e in states[1e-3]["log_history"][::-1] if "eval_far_distance" in e)
    assert third["eval_far_distance"] == entry["eval_far_distance"]

    trainer.args.learning_rate = best.hyperparameters["learning_rate"]
    trainer.train()
    assert trainer.model is not None
    final = next(e for e in trainer.state.log_history[::-1] if "eval_far_distance" in e)
    assert final["eval_far_distance"] == best.objective


def test_on_the_evaluation_loss(tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, eval_dataset=rows(9, 1))
    seen: list[float] = []
    original = trainer._objective

    def objective(metrics: dict[str, float]) -> float:
        seen.append(metrics["eval_loss"])
        return original(metrics)

    trainer._objective = objective  # type: ignore[method-assign]
    best = trainer.hyperparameter_search(space, n_trials=3, backend="optuna", **grid())
    assert best.objective == min(seen)
    assert len(set(seen)) == 3


def test_pruned_trials_end_early(tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, evaluator=Judge())
    best = trainer.hyperparameter_search(
        space, n_trials=3, backend="optuna",
        pruner=optuna.pruners.ThresholdPruner(lower=1.0), **grid(),
    )  # fmt: skip
    assert best.hyperparameters == {"learning_rate": 3e-2}


class Tempered(BinaryCrossEntropyLoss):
    """A loss that learns something itself."""

    made = 0

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.scale = nn.Parameter(torch.ones(()))
        Tempered.made += 1

    def compute(self, scores: Any, labels: Any, group_sizes: Any) -> Any:
        return super().compute(scores * self.scale, labels, group_sizes)


@pytest.mark.parametrize("ready", [False, True], ids=["a class", "ready made"])
def test_the_loss_starts_anew_in_every_trial(tmp_path: Path, ready: bool) -> None:
    Tempered.made = 0
    starts = []

    class Noting(CrossEncoderTrainer):
        def create_optimizer(self, model: Any = None) -> Any:
            starts.append((float(self.loss.scale.detach()), self.loss.model is self.model))
            return super().create_optimizer(model)

    args = arguments(tmp_path, max_steps=2, learning_rate=0.1)
    first = StubEncoder()
    trainer = Noting(
        args=args, train_dataset=rows(12), eval_dataset=rows(5), model_init=stub,
        loss=Tempered(first) if ready else Tempered,
    )  # fmt: skip
    trainer.hyperparameter_search(space, n_trials=3, backend="optuna", **grid())
    assert starts == [(1.0, True)] * 3
    assert Tempered.made == (1 if ready else 4)


def test_gradient_checkpointing_reaches_the_model_of_each_trial(tmp_path: Path) -> None:
    on = []

    class Noting(CrossEncoderTrainer):
        def create_optimizer(self, model: Any = None) -> Any:
            modules = self.model.modules()
            on.append(any(getattr(m, "gradient_checkpointing", False) for m in modules))
            return super().create_optimizer(model)

    args = arguments(tmp_path, max_steps=1, gradient_checkpointing=True)
    trainer = Noting(args=args, train_dataset=rows(12), eval_dataset=rows(5), model_init=stub)
    trainer.hyperparameter_search(space, n_trials=2, backend="optuna", **grid())
    assert on == [True, True]
    assert trainer.args.activation_checkpointing


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = trainer_for(tmp_path, model=StubEncoder(), model_init=None, eval_dataset=rows(3))
    with pytest.raises(InputError, match="needs a model_init"):
        fixed.hyperparameter_search(space, n_trials=1, backend="optuna")
    args = arguments(tmp_path)
    blind = CrossEncoderTrainer(args=args, train_dataset=rows(4), model_init=stub)
    with pytest.raises(InputError, match="evaluator or an eval_dataset"):
        blind.hyperparameter_search(space, n_trials=1, backend="optuna")
    trainer = trainer_for(tmp_path, eval_dataset=rows(3))
    with pytest.raises(InputError, match="one to minimize"):
        trainer.hyperparameter_search(space, n_trials=1, backend="optuna", direction="maximize")
    with pytest.raises(InputError, match="needs direction"):
        trainer.hyperparameter_search(space, lambda m: m["eval_loss"], 1, backend="optuna")
    unknown = trainer_for(tmp_path, evaluator=lambda *a, **k: {"x": 1.0, "y": 2.0})
    with pytest.raises(InputError, match="eval_x, eval_y"):
        unknown.hyperparameter_search(space, n_trials=1, backend="optuna")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"rankwright\[hpo\]"):
        trainer.hyperparameter_search(space, n_trials=1, backend="optuna")


def test_with_the_real_model(tmp_path: Path) -> None:
    from tests.tiny import save_tiny

    base = save_tiny(tmp_path / "base")
    trainer = trainer_for(
        tmp_path / "run",
        eval_dataset=rows(6, 2),
        model_init=lambda: CrossEncoder(base, device="cpu"),
    )
    best = trainer.hyperparameter_search(space, n_trials=2, backend="optuna", **grid())
    assert best.objective > 0
    folder = tmp_path / "run" / f"run-{best.run_id}" / "checkpoint-3"
    assert CrossEncoder(folder).predict([("a", "b")]).shape == (1,)
