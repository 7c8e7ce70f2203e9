"""Short trainings for tests: their settings, their evaluators, their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rankwright.training import CrossEncoderTrainingArguments
from tests.training.stub import StubEncoder


def arguments(folder: Path, **options: Any) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(
        str(folder),
        **{
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "num_train_epochs": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "logging_steps": 1000,
        }
        | options,
    )


def weights(model: StubEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}


class FakeEvaluator:
    def __init__(self, values: list[float], name: str = "dev") -> None:
        self.primary_metric = f"{name}_ndcg@10"
        self.values = iter(values)
        self.name = name
        self.calls: list[tuple[float, int, bool]] = []

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        self.calls.append((epoch, steps, model.training))
        (Path(output_path) / f"{self.name}.csv").write_text("x", encoding="utf-8")
        return {f"{self.name}_ndcg@10": next(self.values)}
