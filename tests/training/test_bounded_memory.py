"""A step with `mini_batch_size` needs the memory of a mini-batch, through the whole trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from rankwright import CrossEncoder, CrossEncoderTrainer, losses
from tests.tiny import save_tiny
from tests.training.runs import arguments
from tests.training.stub import rows

QUERIES, DOCUMENTS = 6, 10
SMALL = {
    "num_hidden_layers": 2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class LiveBytes(TorchDispatchMode):
    """Follows every tensor that is made to its end, and notes the most bytes alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self.alive[reference.cdata] = (reference, storage.nbytes())
        self.calls += 1
        if self.calls % 10 == 0:  # often enough: a step has thousands of calls
            self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
            self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return found


def data(kind: str) -> list[dict[str, Any]]:
    flat = rows(QUERIES * DOCUMENTS, 3)
    if kind == "pairs":
        return flat
    grouped = [flat[i : i + DOCUMENTS] for i in range(0, len(flat), DOCUMENTS)]
    if kind == "tuples":
        return [
            {"query": part[0]["query"], "positive": part[0]["document"]}
            | {f"negative_{i}": part[i]["document"] for i in (1, 2)}
            for part in grouped
        ]
    return [
        {
            "query": part[0]["query"],
            "documents": [row["document"] for row in part],
            "labels": [float(i % 3) for i in range(DOCUMENTS)],
        }
        for part in grouped
    ]


LOSSES: dict[str, tuple[Any, str]] = {
    "BinaryCrossEntropy": (losses.BinaryCrossEntropyLoss, "pairs"),
    "ListNet": (losses.ListNetLoss, "lists"),
    "Lambda, first ranks": (lambda model: losses.LambdaLoss(model, k=5), "lists"),
    "CachedMultipleNegativesRanking": (
        lambda model: losses.CachedMultipleNegativesRankingLoss(model, num_negatives=None),
        "tuples",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_memory_of_a_step(tmp_path: Path, name: str) -> None:
    base = save_tiny(tmp_path / "base", **SMALL)
    make, kind = LOSSES[name]
    peaks, gradients = {}, {}
    for size in (None, 4):
        model = CrossEncoder(base, device="cpu")
        loss = make(model)
        loss.mini_batch_size = size
        args = arguments(tmp_path, per_device_train_batch_size=QUERIES, max_tokens_per_pass=10**6)
        trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=data(kind), loss=loss)
        trainer.current_gradient_accumulation_steps = 1
        if kind == "pairs":
            inputs = trainer.data_collator(data(kind))
        else:
            inputs = next(iter(trainer.get_train_dataloader()))
        for parameter in model.parameters():  # what stays anyhow
            parameter.grad = torch.zeros_like(parameter)
        torch.manual_seed(0)
        with LiveBytes() as live:
            trainer.training_step(model, inputs)
        peaks[size] = live.peak
        gradients[size] = model.model.classifier.weight.grad
    assert len(inputs["lengths"]) >= QUERIES * DOCUMENTS
    assert peaks[4] < 0.35 * peaks[None], peaks
    torch.testing.assert_close(gradients[4], gradients[None], atol=1e-5, rtol=1e-3)
