"""Data sets of every form, and trainings on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from rankwright.losses import (
    BinaryCrossEntropyLoss,
    ListNetLoss,
    MultipleNegativesRankingLoss,
)
from rankwright.training import CrossEncoderTrainer
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows

PAIRS = rows(10)

LISTS = [
    {"question": f"sort {i}", "texts": ["sort files", "open", "move a"][: 2 + i % 2],
     "labels": [1.0, 0.0, 0.0][: 2 + i % 2]}
    for i in range(6)
]  # fmt: skip

TRIPLES = [{"a": f"copy {w}", "p": f"copy the {w}", "n": "list"} for w in ("row", "table", "file")]

FLAT = [
    {"query": f"sort {'rows' * (i % 4)}", "document": f"{row['document']} {i}", "label": i % 3 / 2}
    for i, row in enumerate(rows(22))
]


def data() -> dict[str, Any]:
    return {"pairs": PAIRS, "lists": Dataset.from_list(LISTS), "triples": TRIPLES}


def losses(model: Any) -> dict[str, Any]:
    return {
        "pairs": BinaryCrossEntropyLoss(model),
        "lists": ListNetLoss,
        "triples": lambda made: MultipleNegativesRankingLoss(made, num_negatives=1),
    }


def stream(found: list[dict[str, Any]]) -> Any:
    return IterableDataset.from_generator(lambda: iter(found))


def trained(tmp_path: Path, train: Any, loss: Any = None, **options: Any) -> dict[str, Tensor]:
    model = StubEncoder()
    args = arguments(tmp_path, evaluate_base=False, **options)
    CrossEncoderTrainer(model=model, args=args, train_dataset=train, loss=loss).train()
    return weights(model)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def assert_different(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
