"""Trains on lists in two processes: torchrun -m tests.training.lists_worker '[{...}]'."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import rankwright.losses as losses
from rankwright import CrossEncoder, CrossEncoderRerankingEvaluator, CrossEncoderTrainer
from rankwright.training import CrossEncoderTrainingArguments
from tests.training.stub import rows


def weighted(model: Any) -> losses.Loss:
    """Terms that count their queries, their pairs and their judged queries."""
    return losses.WeightedSumLoss(
        model,
        [
            losses.ListNetLoss(model),
            losses.LossTerm(losses.BinaryCrossEntropyLoss(model), 0.5, labels=1.0),
            losses.LossTerm(losses.GroupSoftmaxLoss(model), 0.3),
        ],
    )


LOSSES: dict[str, Callable[[Any], losses.Loss]] = {
    "ListNet": losses.ListNetLoss,
    "GroupSoftmax": losses.GroupSoftmaxLoss,
    "Lambda": losses.LambdaLoss,
    "PListMLE": losses.PListMLELoss,
    "WeightedSum": weighted,
}


def ragged(count: int) -> list[dict[str, Any]]:
    """Lists of 1 to 5 documents with grades; every third has nothing relevant."""
    flat = rows(5 * count, 2)
    found = []
    for i in range(count):
        part = flat[5 * i : 5 * i + 1 + (3 * i) % 5]
        grades = [0.0 if i % 3 == 0 else float((i + j) % 3) for j in range(len(part))]
        found.append(
            {
                "query": part[0]["query"],
                "documents": [row["document"] for row in part],
                "labels": sorted(grades, reverse=True),
            }
        )
    return found


def evaluator() -> CrossEncoderRerankingEvaluator:
    samples = [
        {
            "query": row["query"],
            "documents": row["documents"],
            "relevance": [*map(int, row["labels"])],
        }
        for row in ragged(40)[20:]
        if max(row["labels"]) > 0
    ]
    return CrossEncoderRerankingEvaluator(samples, name="dev")


class Counting(CrossEncoder):
    """Counts the pairs that this process scores."""

    scored = 0

    def predict(self, inputs: Any = None, *args: Any, **options: Any) -> Any:
        self.scored += len(inputs)
        return super().predict(inputs, *args, **options)


def train(folder: str, base: str, batch_size: int, loss: str, **options: Any) -> dict[str, Any]:
    model = Counting(base, device="cpu")
    args = CrossEncoderTrainingArguments(
        folder, per_device_train_batch_size=batch_size, use_cpu=True, disable_tqdm=True,
        train_sampling_strategy="sequential", logging_steps=1, on_leak="ignore", max_steps=4,
        optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", max_grad_norm=0.0,
        eval_strategy="steps", eval_steps=2, save_strategy="no", **options,
    )  # fmt: skip
    data: Any = ragged(24)
    chosen: Any = LOSSES.get(loss)
    if loss == "mixture":
        data = {"pairs": rows(24), "lists": data}
        chosen = {"pairs": losses.BinaryCrossEntropyLoss, "lists": losses.ListNetLoss}
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=data, evaluator=evaluator(), loss=chosen
    )
    trainer.train()
    history = trainer.state.log_history
    result = {
        "losses": [entry["loss"] for entry in history if "loss" in entry],
        "evaluations": [entry["eval_dev_ndcg@10"] for entry in history if "eval_dev_map" in entry],
        "scored": model.scored,
    }
    torch.save(model.model.state_dict(), Path(folder) / f"weights-{args.process_index}.pt")
    (Path(folder) / f"result-{args.process_index}.json").write_text(json.dumps(result))
    return result


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        train(**job)
    torch.distributed.destroy_process_group()
