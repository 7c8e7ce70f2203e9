"""Trains in two processes: python -m torch.distributed.run -m tests.training.distributed_worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from torch import nn

from rankwright.losses import BinaryCrossEntropyLoss
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from tests.training.stub import StubEncoder, rows


class Whole(BinaryCrossEntropyLoss):
    """Says that it cannot be taken apart, and learns a scale and an offset of its own."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.mini_batch_size = 2
        self.scale = nn.Parameter(torch.tensor(1.5))

    def weight_of(self, *_: Any) -> None:
        return None

    def compute(self, scores: Any, labels: Any, group_sizes: Any) -> Any:
        return super().compute(scores * self.scale, labels, group_sizes)


def train(
    folder: str, batch_size: int, stream: bool = False, whole: bool = False, **options: Any
) -> dict[str, Any]:
    model = StubEncoder()
    data: Any = rows(24)
    if stream:
        data = IterableDataset.from_generator(rows, gen_kwargs={"count": 24})
    args = CrossEncoderTrainingArguments(
        folder, use_cpu=True, per_device_train_batch_size=batch_size,
        **{"max_steps": 6, "save_steps": 6} | options,
        learning_rate=1e-2, optim="sgd", max_grad_norm=0.0, disable_tqdm=True,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    calls = []

    def evaluator(model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        calls.append(steps)
        return {"steps": float(steps)}

    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=rows(16), evaluator=evaluator,
        loss=Whole if whole else None,
    )  # fmt: skip
    trainer.train()
    metrics = trainer.evaluate()
    result = {"metrics": metrics, "calls": len(calls), "processes": args.world_size}
    state = {**model.model.state_dict(), **trainer.loss.state_dict()}
    torch.save(state, Path(folder) / f"weights-{args.process_index}.pt")
    (Path(folder) / f"result-{args.process_index}.json").write_text(json.dumps(result))
    return result


if __name__ == "__main__":
    train(**json.loads(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
