"""Trainers whose evaluators' scores are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankwright import CrossEncoderTrainer
from tests.training.runs import arguments
from tests.training.stub import StubEncoder, rows


class Script:
    """An evaluator whose scores are known beforehand."""

    def __init__(self, values: list[float], metric: str = "dev_ndcg@10", greater: bool = True):
        self.values = list(values)
        self.primary_metric = metric
        self.greater_is_better = greater

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        return {self.primary_metric: self.values.pop(0), f"{self.primary_metric}_twin": 0.0}


def trainer_for(folder: Path, **options: Any) -> CrossEncoderTrainer:
    data = options.pop("data", None) or rows(12)
    parts = {name: options.pop(name) for name in ("evaluator", "callbacks") if name in options}
    held_out = options.pop("eval_dataset", None)
    options = {"evaluate_base": False} | options
    return CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(folder, **options), train_dataset=data,
        eval_dataset=held_out, **parts,
    )  # fmt: skip


EVERY_STEP = {
    "max_steps": 3,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "load_best_model_at_end": True,
}
