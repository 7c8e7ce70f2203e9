"""Trains with shards: python -m torch.distributed.run -m tests.training.fsdp_worker '[{...}]'."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peft
import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from rankwright import CrossEncoder
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from tests.training.distributed_worker import Whole
from tests.training.stub import rows

PAIRS = [(row["query"], row["document"]) for row in rows(6, 5)]


class Watch(TrainerCallback):
    """Which share of the weights and of the optimizer's state this process holds after a step."""

    def __init__(self) -> None:
        self.shares: list[tuple[float, float]] = []

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        moments = [
            value for kept in optimizer.state.values() for value in kept.values() if value.dim()
        ]
        self.shares.append((_share(model.parameters()), _share(moments)))


def _share(tensors: Any) -> float:
    held = total = 0
    for tensor in tensors:
        total += tensor.numel()
        held += (tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel()
    return held / total if total else 0.0


class Scores:
    """An evaluator that keeps the scores it saw, and calls the second of them best."""

    greater_is_better = True
    primary_metric = "dev"

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}

    def __call__(self, model: Any, output_path: str, epoch: float, steps: int) -> dict[str, float]:
        self.seen[steps] = model.predict(PAIRS).tolist()
        return {"dev": float(len(self.seen) == 3)}


def train(
    folder: str,
    base: str,
    batch_size: int,
    whole: bool = False,
    adapter: bool = False,
    evaluator: bool = False,
    resume: str | bool = False,
    **options: Any,
) -> dict[str, Any]:
    model = CrossEncoder(base)
    args = CrossEncoderTrainingArguments(
        folder, per_device_train_batch_size=batch_size, use_cpu=True, disable_tqdm=True,
        train_sampling_strategy="sequential", logging_steps=1, on_leak="ignore",
        # The gradient of a key's bias is nothing but rounding, which must not count as a direction.
        **{"adam_epsilon": 1e-3, "learning_rate": 1e-2, "max_grad_norm": 0.3, "weight_decay": 0.1}
        | options,
    )  # fmt: skip
    watch, scores = Watch(), Scores()
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=rows(24), callbacks=[watch],
        evaluator=scores if evaluator else None,
        eval_dataset=None if evaluator else rows(16, 3), loss=Whole if whole else None,
        peft_config=peft.LoraConfig(r=3, target_modules="all-linear") if adapter else None,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    history = [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "grad_norm" in e]
    result = {
        "shares": watch.shares,
        "seen": scores.seen,
        "history": history,
        "metrics": trainer.evaluate(),
        "predicted": model.predict(PAIRS).tolist(),
        "plain": all(type(p.data) is torch.Tensor for p in model.parameters()),
        "best": trainer.state.best_model_checkpoint,
    }
    state = {**model.state_dict(), **trainer.loss.state_dict()}
    torch.save(state, Path(folder) / f"weights-{args.process_index}.pt")
    (Path(folder) / f"result-{args.process_index}.json").write_text(json.dumps(result))
    return result


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        train(**job)
    torch.distributed.destroy_process_group()
