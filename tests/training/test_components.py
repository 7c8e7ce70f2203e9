"""Losses of several components: their sum is trained on, each is logged by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rankwright.errors import InputError
from rankwright.losses import (
    DistillKLDivLoss,
    GroupSoftmaxLoss,
    LambdaLoss,
    Loss,
    LossTerm,
    MSELoss,
    PairBuilder,
    WeightedSumLoss,
)
from rankwright.training import CrossEncoderTrainer
from rankwright.training.components import LossComponents
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder

DATA = [
    {
        "q": f"sort {word}",
        "docs": ["sort files by date", "open", "move a row of the table"][: 1 + i % 3],
        "labels": [2.0, -1.0, 0.5][: 1 + i % 3],
    }
    for i, word in enumerate("files by size name date list copy move open shell table row".split())
]


def several(model: StubEncoder) -> WeightedSumLoss:
    return WeightedSumLoss(
        model,
        [
            DistillKLDivLoss(model),
            LossTerm(GroupSoftmaxLoss(model), 0.5, name="hard", labels="first"),
            LossTerm(MSELoss(model), 0.1),
        ],
    )


NAMES = {"DistillKLDiv", "hard", "MSE"}


@pytest.mark.parametrize(
    "options",
    [
        {"logging_steps": 1},
        {"logging_steps": 2, "max_tokens_per_pass": 20},
        {"logging_steps": 2, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 1},
    ],
    ids=str,
)
def test_logged_components_add_up_to_the_logged_loss(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    model = StubEncoder()
    args = arguments(tmp_path, num_train_epochs=2, **options)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=DATA, loss=several(model))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == trainer.state.max_steps // options["logging_steps"]
    for entry in logged:
        assert entry.keys() >= NAMES
        assert entry["loss"] == pytest.approx(sum(entry[name] for name in NAMES), rel=1e-4)
        assert len({round(entry[name], 6) for name in NAMES}) == 3
    assert logged[0]["MSE"] != logged[1]["MSE"]


def test_a_step_in_parts_logs_what_a_whole_step_logs(tmp_path: Path) -> None:
    logs, ends = [], []
    for tokens in (None, 20):
        model = StubEncoder()
        args = arguments(tmp_path, logging_steps=1, optim="sgd", max_tokens_per_pass=tokens)
        trainer = CrossEncoderTrainer(
            model=model, args=args, train_dataset=DATA, loss=several(model)
        )
        trainer.train()
        logs.append([{k: e[k] for k in NAMES} for e in trainer.state.log_history if "loss" in e])
        ends.append(weights(model))
    for whole, parts in zip(*logs, strict=True):
        assert whole == pytest.approx(parts, rel=1e-4)
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-5)


def test_evaluations_report_components_too(tmp_path: Path) -> None:
    model = StubEncoder()
    args = arguments(tmp_path, per_device_eval_batch_size=5, eval_strategy="steps", eval_steps=1)
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=DATA[:4], eval_dataset=DATA, loss=several(model)
    )
    trainer.train()
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    metrics = trainer.evaluate()
    for entry in [*evaluated, metrics]:
        parts = [entry[f"eval_{name}"] for name in NAMES]
        assert entry["eval_loss"] == pytest.approx(sum(parts), rel=1e-5)
    # Rows count alike, although the last batch is smaller.
    loss, expected = several(model), 0.0
    for batch in (DATA[:5], DATA[5:10], DATA[10:]):
        inputs = trainer.data_collator(batch)
        with torch.no_grad():
            scores = trainer.compute_loss(model, inputs, return_outputs=True)[1]
        found = loss.compute(scores, inputs["labels"], inputs["group_sizes"])
        expected += float(found["MSE"]) * len(batch) / len(DATA)
    assert metrics["eval_MSE"] == pytest.approx(expected, rel=1e-5)


class Named(Loss):
    """Two components that cannot be taken apart."""

    def __init__(self, model: Any, names: tuple[str, ...] = ("low", "high")) -> None:
        super().__init__(model)
        self.names = names
        self.pairs = PairBuilder("Named", ("lists",))

    def compute(self, scores: Tensor, labels: Any, group_sizes: Any) -> dict[str, Tensor]:
        return {name: (scores - i).square().mean() for i, name in enumerate(self.names)}


def test_a_loss_of_ones_own_may_have_components(tmp_path: Path) -> None:
    model = StubEncoder()
    args = arguments(tmp_path, logging_steps=1, max_tokens_per_pass=20)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=DATA, loss=Named(model))
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["loss"] == pytest.approx(entry["low"] + entry["high"], rel=1e-4)


@pytest.mark.parametrize("names", [(), ("loss", "other"), ("low", "learning_rate")], ids=str)
def test_names_of_the_trainers_own_figures_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    model = StubEncoder()
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path), train_dataset=DATA, loss=Named(model, names)
    )
    with pytest.raises(InputError, match="components called"):
        trainer.train()


def test_a_sum_with_a_loss_that_needs_all_scores_trains_in_mini_batches(tmp_path: Path) -> None:
    ends = []
    for size in (None, 2):
        model = StubEncoder()
        loss = WeightedSumLoss(
            model, [LambdaLoss(model, k=2), DistillKLDivLoss(model)], mini_batch_size=size
        )
        args = arguments(tmp_path, optim="sgd", learning_rate=0.05)
        CrossEncoderTrainer(model=model, args=args, train_dataset=DATA, loss=loss).train()
        ends.append(weights(model))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-5)


def test_averages_of_several_processes_are_averages_over_all_micro_batches() -> None:
    """Also where a process had no micro-batch of a loss with that component."""
    here = LossComponents()
    for value in (1.0, 3.0):
        here.total({"a": torch.tensor(value), "b": torch.tensor(2 * value)})
        here.close("train")
    there = [("a", 8.0, 1.0), ("c", 5.0, 2.0)]
    assert here.averages("train", lambda found: found + there) == {"a": 4.0, "b": 4.0, "c": 2.5}
    assert here.averages("train") == {}


def test_parts_of_a_failed_step_are_forgotten() -> None:
    components = LossComponents()
    components.total({"a": torch.tensor(9.0)}, {"a": 0.5})
    components.discard()
    total = components.total(
        {"a": torch.tensor(2.0), "b": torch.tensor(4.0)}, {"a": 0.5, "b": 0.25}
    )
    assert float(total) == 2.0
    components.close("eval", 3.0)
    assert components.averages("eval") == {"a": 1.0, "b": 1.0}
    assert float(components.total(torch.tensor(2.0), 0.5)) == 1.0
