"""Evaluations in `fit`, and which model is kept."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from rankwright import CrossEncoder
from rankwright.evaluation import SentenceEvaluator
from rankwright.util import batch_to_device
from tests.training.fit.fits import FITS, QUIET, SGD, assert_same, examples, state


class Scripted(SentenceEvaluator):
    """Gives one prepared score after the other, and leaves the model in evaluation mode."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = iter(scores)
        self.calls: list[tuple[Any, int, int]] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> Any:
        self.calls.append((output_path, epoch, steps))
        self.states.append(state(model))
        model.model.eval()
        return next(self.scores)


@pytest.mark.parametrize("method", FITS)
def test_evaluations_callback_and_best_model(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    model = make()
    evaluator = Scripted([0.1, 0.9, 0.3, 0.8, 0.2, float("nan")])
    told: list[tuple[float, int, int]] = []
    training: list[bool] = []
    forward = model.model.forward
    model.model.forward = lambda *a, **k: training.append(model.model.training) or forward(*a, **k)
    getattr(model, method)(
        DataLoader(examples(20), batch_size=4),
        evaluator=evaluator,
        epochs=2,
        evaluation_steps=2,
        output_path=str(tmp_path / "out"),
        callback=lambda *given: told.append(given),
        **{**QUIET, **SGD},
    )
    del model.model.forward
    path = str(tmp_path / "out")
    when = [(0, 2), (0, 4), (0, -1), (1, 2), (1, 4), (1, -1)]
    assert evaluator.calls == [(path, *moment) for moment in when]
    assert [(epoch, steps) for _, epoch, steps in told] == when
    assert [score for score, _, _ in told][:5] == [0.1, 0.9, 0.3, 0.8, 0.2]
    assert all(training)
    assert model.best_score == 0.9
    assert_same(state(CrossEncoder(path, device="cpu")), evaluator.states[1], atol=0)
    assert "# " in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("method", FITS)
def test_lower_can_be_better(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    evaluator = Scripted([0.5, 0.2, 0.4])
    evaluator.greater_is_better = False
    model = make()
    getattr(model, method)(
        DataLoader(examples(4), batch_size=4), evaluator, 3, output_path=str(tmp_path / "out"),
        **{**QUIET, **SGD},
    )  # fmt: skip
    assert model.best_score == 0.2
    assert_same(state(CrossEncoder(str(tmp_path / "out"))), evaluator.states[1], atol=0)


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("with_evaluator", [False, True])
def test_the_last_model_is_saved_where_no_best_is_kept(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str, with_evaluator: bool
) -> None:
    model = make()
    getattr(model, method)(
        DataLoader(examples(8), batch_size=4),
        Scripted([0.9, 0.1]) if with_evaluator else None,
        2,
        save_best_model=False,
        output_path=str(tmp_path / "out"),
        **{**QUIET, **SGD},
    )
    assert_same(state(CrossEncoder(str(tmp_path / "out"))), state(model), atol=0)
    if method == "fit":
        card = (tmp_path / "out" / "README.md").read_text()
        assert "BinaryCrossEntropyLoss" in card


class MeanSquaredError(SentenceEvaluator):
    """What users' evaluators look like: they call the transformers model themselves."""

    def __init__(self, dataloader: Any) -> None:
        super().__init__()
        self.dataloader = dataloader

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> float:
        model.model.eval()
        self.dataloader.collate_fn = model.smart_batching_collate
        losses = []
        for features, labels in self.dataloader:
            features = batch_to_device(features, model.device)
            with torch.no_grad():
                logits = torch.sigmoid(model.model(**features, return_dict=True).logits)
            if model.config.num_labels == 1:
                logits = logits.view(-1)
            losses.append(nn.functional.mse_loss(logits, labels).item())
        if output_path is not None:
            path = os.path.join(output_path, "mse.csv")
            with open(path, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([epoch, steps, np.mean(losses)])
        return float(np.mean(losses))


@pytest.mark.parametrize("method", FITS)
def test_an_evaluator_that_calls_the_inner_model(
    make: Callable[..., CrossEncoder], tmp_path: Path, method: str
) -> None:
    model = make()
    evaluator = MeanSquaredError(DataLoader(examples(8), batch_size=4))
    evaluator.greater_is_better = False
    getattr(model, method)(
        DataLoader(examples(8), batch_size=4), evaluator, epochs=3,
        output_path=str(tmp_path / "out"), **{**QUIET, **SGD},
    )  # fmt: skip
    with open(tmp_path / "out" / "mse.csv", encoding="utf-8") as file:
        found = [float(row[2]) for row in csv.reader(file)]
    assert found[-1] < found[0]
    best = CrossEncoder(str(tmp_path / "out"), device="cpu")
    assert evaluator(best) == pytest.approx(min(found), abs=1e-6)
