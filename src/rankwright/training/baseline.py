"""What the model was worth before training, and what follows from that at the end.

A fine-tuned reranker can be worse than the model it started from, and than the first stage whose
lists it reorders. So both are measured before the first step, under the same names and by the same
evaluators as later (``eval_dev_ndcg@10`` is the model, ``eval_dev_base_ndcg@10`` the first stage),
and stand in the log history at step 0. The model before training is then the first candidate for
"best": a checkpoint has to beat it, or its weights are put back at the end.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from rankwright.errors import InputError
from rankwright.training.guards import is_first_process
from rankwright.training.loss_state import save_losses

__all__ = ["FOLDER", "Baseline", "first_stage_metric", "main_metric", "unchanged_randomness"]

logger = logging.getLogger(__name__)

FOLDER = "base-model"
"""Where in ``output_dir`` the weights from before training wait until it ends."""


class Baseline(TrainerCallback):
    """Evaluates before the first step and speaks up at the end.

    Attributes:
        metrics: Metrics before training, ``eval_`` in front; None if they were not measured.
        kept: Whether training ended with the weights it began with.
        notes: What to say about it in a model card, name -> text.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.metrics: dict[str, float] | None = None
        self.kept = False
        self.notes: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measures, or reads from the history of the run that is resumed."""
        self.metrics, self.kept, self.notes = None, False, {}
        if not args.evaluate_base:
            return
        if state.global_step > 0:
            self.metrics = _recorded(state.log_history)
            return
        if args.eval_on_start or not _wanted(self.trainer):
            return  # with eval_on_start, on_evaluate gets the same metrics right away
        with unchanged_randomness(), self.trainer.whole_weights():
            if _chosen_by_loss(args):
                self.trainer.evaluate()
            else:
                metrics = self.trainer.run_evaluators("eval")
                self.trainer.log(dict(metrics))
                self._take(metrics, args, state)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Takes an evaluation that happens before the first step."""
        if args.evaluate_base and metrics and self.trainer.is_in_train and state.global_step == 0:
            self._take(metrics, args, state)

    def _take(self, metrics: Mapping[str, float], args: Any, state: Any) -> None:
        self.metrics = {**(self.metrics or {}), **metrics}
        metric = args.metric_for_best_model
        if metric is None:
            return
        name = _with_prefix(metric)
        value = self.metrics.get(name)
        if value is None:
            if self.trainer.eval_dataset is None:
                raise InputError(
                    f"metric_for_best_model is {metric!r}, which no evaluator reports; choose one "
                    f"of {', '.join(sorted(map(repr, self.metrics)))}."
                )
            return
        if not math.isfinite(value):
            return
        state.best_metric = float(value)
        state.best_global_step = 0
        if args.load_best_model_at_end:
            folder = self._folder()
            if args.should_save:
                self.trainer.model.save_pretrained(str(folder), create_model_card=False)
                save_losses(self.trainer.loss, folder)
            self.trainer.accelerator.wait_for_everyone()
            state.best_model_checkpoint = str(folder)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compares the end with the beginning, in the log and for the card."""
        if not self.metrics:
            return
        name = main_metric(self.trainer, self.metrics)
        before = self.metrics.get(name)
        if before is None:
            return
        greater = args.greater_is_better is not False
        self.notes["before training"] = f"{name} {before:.4f}"
        folder = self._folder()
        chosen = args.load_best_model_at_end and name == _with_prefix(args.metric_for_best_model)
        if chosen and state.best_global_step == 0:
            self._nothing_better(state, name, before)
            after: float | None = before
        else:
            after = state.best_metric if chosen else _last(state.log_history, name)
            if args.should_save and folder.is_dir() and state.best_model_checkpoint != str(folder):
                shutil.rmtree(folder)  # a checkpoint was better
        if after is None:
            return
        if not chosen and (after < before if greater else after > before):
            _say(
                "The model is worse than before training: %s was %.4f and is %.4f. Its weights are "
                "those of the last step; load_best_model_at_end=True would have kept the better "
                "ones. Lower the learning rate, or look at the data.",
                *(name, before, after),
            )
            self.notes["compared with before"] = "worse"
        self._against_first_stage(name, after, greater)

    def _folder(self) -> Path:
        # Each trial of a search has a folder of its own.
        trial = getattr(self.trainer, "_trial", None)
        return Path(self.trainer._get_output_dir(trial=trial)) / FOLDER

    def _nothing_better(self, state: Any, name: str, before: float) -> None:
        self.kept = state.best_model_checkpoint is not None
        found = [entry[name] for entry in state.log_history if name in entry and entry["step"] > 0]
        tried = f"{len(found)} evaluations" if len(found) != 1 else "1 evaluation"
        what = (
            "so the weights from before training were put back"
            if self.kept
            else f"but the weights from before training are gone from {FOLDER}; these are the last "
            "ones, which are not better"
        )
        _say(
            "Training did not help: none of %s reached more than the %s of %.4f from before "
            "training, %s. Lower the learning rate, get more or cleaner data, or keep the base.",
            *(tried, name, before, what),
        )
        self.notes["weights"] = (
            "those from before training: no checkpoint was better"
            if self.kept
            else "those of the last step, which are not better than those from before training"
        )

    def _against_first_stage(self, name: str, after: float, greater: bool) -> None:
        first = (self.metrics or {}).get(first_stage_metric(name))
        if first is None:
            return
        self.notes["first stage"] = f"{name} {first:.4f}"
        if after < first if greater else after > first:
            _say(
                "The model ranks worse than the lists it was given: %s is %.4f, and %.4f without "
                "it. Do not use it as it is.",
                *(name, after, first),
            )


def main_metric(trainer: Any, metrics: Mapping[str, float]) -> str:
    """Name of the metric that stands for all: what checkpoints are chosen by, if they are."""
    metric = trainer.args.metric_for_best_model
    if metric is not None:
        return _with_prefix(metric)
    if "eval_sequential_score" in metrics:
        return "eval_sequential_score"
    names = []
    for evaluator in trainer.evaluators[-1:]:
        primary, name = (getattr(evaluator, key, None) for key in ("primary_metric", "name"))
        names += [f"eval_{primary}", f"eval_{name}_{primary}"]
    own = (key for key in metrics if key.startswith("eval_"))
    return next((name for name in names if name in metrics), next(own, "eval_loss"))


def first_stage_metric(name: str) -> str:
    """``eval_dev_ndcg@10`` -> ``eval_dev_base_ndcg@10``, where the first stage's value is."""
    start, _, metric = name.rpartition("_")
    return f"{start}_base_{metric}"


@contextlib.contextmanager
def unchanged_randomness() -> Iterator[None]:
    """Puts all random number generators back, so that training draws what it would have drawn."""
    state, numbers = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numbers)


def _say(message: str, *values: Any) -> None:
    if is_first_process():
        logger.warning(message, *values)


def _wanted(trainer: Any) -> bool:
    return bool(trainer.evaluators) or (
        trainer.args.load_best_model_at_end and trainer.eval_dataset is not None
    )


def _chosen_by_loss(args: Any) -> bool:
    metric = args.metric_for_best_model
    return bool(metric) and metric.endswith("loss")


def _with_prefix(metric: str | None) -> str:
    return str(metric) if metric is None or metric.startswith("eval_") else f"eval_{metric}"


def _recorded(history: list[dict[str, float]]) -> dict[str, float] | None:
    found: dict[str, float] = {}
    for entry in history:
        if entry.get("step") == 0:
            found |= {key: value for key, value in entry.items() if key.startswith("eval_")}
    return found or None


def _last(history: list[dict[str, float]], name: str) -> float | None:
    values = [entry[name] for entry in history if name in entry and entry.get("step", 0) > 0]
    return values[-1] if values else None
