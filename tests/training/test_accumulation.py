"""Micro-batches in turn are one larger batch, to the last bits of float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rankwright import CrossEncoderTrainer
from rankwright.engine.batch import PackedBatch
from rankwright.losses import BinaryCrossEntropyLoss, LambdaLoss, ListNetLoss, MSELoss
from tests.training.lists_worker import weighted as several
from tests.training.runs import arguments
from tests.training.stub import StubEncoder, rows


class Bag(StubEncoder):
    """Scores by a few sums in float64, so that only the trainer's arithmetic is judged."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        size = self.model.config.vocab_size
        start = torch.randn((size, 6), generator=generator, dtype=torch.float64)
        self.table = nn.Parameter(start)
        self.direction = nn.Parameter(start[:6, 0].clone())

    def forward(self, batch: PackedBatch) -> Tensor:
        pair = torch.arange(batch.num_pairs).repeat_interleave(batch.lengths)
        tokens = torch.tanh(self.table[batch.input_ids])
        sums = torch.zeros(batch.num_pairs, 6, dtype=torch.float64).index_add(0, pair, tokens)
        scores: Tensor = (sums / batch.lengths[:, None]) @ self.direction
        return scores


def lists(count: int) -> list[dict[str, Any]]:
    """Queries with 1 to 5 documents, some without any relevant one."""
    flat = rows(5 * count, 2)
    made = []
    for i in range(count):
        part = flat[5 * i : 5 * i + 1 + i % 5]
        labels = [float(j == i % 3) for j in range(len(part))]
        documents = [row["document"] for row in part]
        made.append({"query": part[0]["query"], "documents": documents, "labels": labels})
    return made


def train(folder: Path, size: int, steps: int, most: int | None, loss: Any, data: Any) -> Bag:
    model = Bag()
    args = arguments(
        folder, per_device_train_batch_size=size, gradient_accumulation_steps=steps,
        max_tokens_per_pass=most, optim="sgd", learning_rate=0.5, max_grad_norm=0.0,
        num_train_epochs=1, train_sampling_strategy="sequential", weight_decay=0.0,
        lr_scheduler_type="constant", on_collapse="ignore",
    )  # fmt: skip
    CrossEncoderTrainer(model=model, args=args, train_dataset=data, loss=loss).train()
    return model


def weighted(model: Any) -> BinaryCrossEntropyLoss:
    return BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(3.0))


@pytest.mark.parametrize("kind", [weighted, MSELoss, ListNetLoss, LambdaLoss, several])
@pytest.mark.parametrize(("size", "steps", "most"), [(4, 2, None), (1, 8, None), (2, 4, 40)])
def test_same_weights(tmp_path: Path, kind: Any, size: int, steps: int, most: int | None) -> None:
    # Twenty rows: the last step of an epoch is smaller, and with 8 at a time incomplete.
    data = lists(20) if kind in (ListNetLoss, LambdaLoss, several) else rows(20)
    whole = train(tmp_path / "whole", 8, 1, None, kind, data)
    parts = train(tmp_path / "parts", size, steps, most, kind, data)
    assert not torch.allclose(whole.table, Bag().table, atol=1e-3)
    for name in ("table", "direction"):
        torch.testing.assert_close(
            getattr(parts, name), getattr(whole, name), rtol=1e-11, atol=1e-12
        )
