"""A run on several data sets, or on groups, that is stopped and resumed ends as if it had not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from torch import Tensor
from transformers import TrainerCallback

from rankwright.losses import BinaryCrossEntropyLoss, ListNetLoss
from rankwright.training import CrossEncoderTrainer
from rankwright.training.samplers import DefaultBatchSampler
from tests.training.mixtures import FLAT, LISTS, assert_same
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows


class Drawn(DefaultBatchSampler):
    """Draws with replacement, from the generator that it was given."""

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            yield torch.randint(len(self.dataset), (4,), generator=self.generator).tolist()


def streamed(found: list[dict[str, Any]]) -> Any:
    return IterableDataset.from_generator(lambda: iter(found)).shuffle(seed=1, buffer_size=6)


BOTH = {"pairs": BinaryCrossEntropyLoss, "lists": ListNetLoss}
SETUPS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "mixture": ({"pairs": rows(10), "lists": LISTS}, BOTH, {"dataloader_num_workers": 2}),
    "temperature": (
        {"pairs": rows(10), "lists": LISTS},
        BOTH,
        {"multi_dataset_batch_sampler": "temperature"},
    ),
    "queries": (
        FLAT,
        ListNetLoss,
        {
            "batch_sampler": "query_grouped",
            "max_documents_per_query": 3,
            "per_device_train_batch_size": 2,
        },
    ),
    "one's own": (rows(20), None, {"batch_sampler": Drawn}),
    "streams": (
        {"pairs": streamed(rows(10)), "lists": LISTS},
        BOTH,
        {"multi_dataset_batch_sampler": "round_robin", "batch_sampler": "no_duplicates"},
    ),
    "stream of queries": (
        IterableDataset.from_generator(lambda: iter(sorted(FLAT, key=lambda r: r["query"]))),
        ListNetLoss,
        {
            "batch_sampler": "query_grouped",
            "max_documents_per_query": 3,
            "per_device_train_batch_size": 2,
        },
    ),
}


class Stop(Exception):
    pass


class StopAt(TrainerCallback):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Stop


def run(folder: Path, setup: str, stop: int | None = None, **how: Any) -> dict[str, Tensor]:
    train, loss, options = SETUPS[setup]
    model = StubEncoder()
    args = arguments(
        folder, max_steps=9, save_strategy="steps", save_steps=7, evaluate_base=False, **options
    )
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=train, loss=loss, callbacks=[StopAt(stop)]
    )
    trainer.train(**how)
    return weights(model)


@pytest.mark.parametrize("setup", SETUPS)
def test_resuming(tmp_path: Path, setup: str) -> None:
    """In the midst of the second epoch or a later one."""
    whole = run(tmp_path / "whole", setup)
    with pytest.raises(Stop):
        run(tmp_path / "parts", setup, stop=8)
    torch.manual_seed(99)  # what the process drew before must not matter
    assert_same(run(tmp_path / "parts", setup, resume_from_checkpoint=True), whole)
