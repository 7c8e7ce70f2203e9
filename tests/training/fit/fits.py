"""What the tests of `fit` and `old_fit` share."""

from __future__ import annotations

from typing import Any

import torch

from rankwright import CrossEncoder, InputExample
from tests.training.stub import rows

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FITS = ["fit", "old_fit"]
QUIET: dict[str, Any] = {"show_progress_bar": False, "warmup_steps": 0}
SGD: dict[str, Any] = {"optimizer_class": torch.optim.SGD, "optimizer_params": {"lr": 0.05}}


def examples(count: int = 20, classes: int = 0) -> list[InputExample]:
    return [
        InputExample(
            texts=[r["query"], r["document"]], label=i % classes if classes else r["label"]
        )
        for i, r in enumerate(rows(count))
    ]


def state(model: CrossEncoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.model.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 2e-6) -> None:
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=atol, rtol=1e-4, msg=name)


def moved(before: dict[str, torch.Tensor], model: CrossEncoder) -> float:
    return max(float((v - before[n]).abs().max()) for n, v in state(model).items())
