"""The same rows in the same order for one seed, whoever prepares them and wherever it goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import IterableDatasetShard
from datasets import Dataset, IterableDataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from rankwright.losses import BinaryCrossEntropyLoss, ListNetLoss
from rankwright.training import CrossEncoderTrainer
from rankwright.training.loaders import OnlyElement, make_loader
from rankwright.training.sampling.base import SamplerOptions
from rankwright.training.streams import BatchStream, Endless, FromStream
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows
from tests.training.test_arguments import make


def from_shards(seeds: list[int]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        yield from rows(5 * seed, seed)


def shards(*seeds: int) -> Any:
    """A stream in shards of different length."""
    return IterableDataset.from_generator(from_shards, gen_kwargs={"seeds": list(seeds)})


def lists() -> Dataset:
    data = rows(30, 9)
    return Dataset.from_list(
        [
            {
                "query": data[i]["query"],
                "documents": [row["document"] for row in data[i : i + 1 + i % 3]],
                "labels": [float(j == 0) for j in range(1 + i % 3)],
            }
            for i in range(20)
        ]
    )


SETUPS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rows": (lambda: Dataset.from_list(rows(23)), {}),
    "rows without duplicates": (
        lambda: Dataset.from_list(rows(23)),
        {"batch_sampler": "no_duplicates"},
    ),
    "one shard": (lambda: shards(3), {}),
    "shards": (lambda: shards(1, 3, 2), {}),
    "shards, shuffled": (lambda: shards(1, 3, 2).shuffle(seed=3, buffer_size=7), {}),
    "shards by length": (lambda: shards(1, 3, 2), {"batch_sampler": "length_grouped"}),
    "shards without duplicates": (lambda: shards(1, 3, 2), {"batch_sampler": "no_duplicates"}),
    "queries": (lambda: shards(1, 3, 2), {"batch_sampler": "query_grouped"}),
    "streams": (
        lambda: {"a": shards(1, 3, 2), "b": shards(2)},
        {"multi_dataset_batch_sampler": {"a": 2.0, "b": 1.0}},
    ),
    "stream and rows": (
        lambda: {"a": shards(1, 2), "b": lists()},
        {"multi_dataset_batch_sampler": "round_robin"},
    ),
}


def plain(batch: Any) -> Any:
    return [dict(row) for row in batch]


@pytest.mark.parametrize("setup", SETUPS)
def test_any_number_of_workers(tmp_path: Path, setup: str) -> None:
    """More passes than one, where the data are a stream."""
    build, options = SETUPS[setup]
    found = []
    for workers in (0, 1, 2):
        args = make(
            tmp_path, per_device_train_batch_size=4, dataloader_num_workers=workers, max_steps=30,
            **options,
        )  # fmt: skip
        loader = make_loader(build(), args, plain, training=True)
        found.append(list(itertools.islice(loader, 17)))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert len(found[0]) == 17 or setup.split()[0] == "rows"
    assert found[0][0] != found[0][1]


def test_evaluation_with_any_number_of_workers(tmp_path: Path) -> None:
    expected = list(from_shards([1, 3, 2]))
    for workers in (0, 2):
        args = make(tmp_path, per_device_eval_batch_size=4, dataloader_num_workers=workers)
        loader = make_loader(shards(1, 3, 2), args, plain, training=False)
        assert list(itertools.chain.from_iterable(loader)) == expected


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_processes_with_workers_of_their_own(workers: int) -> None:
    """Each process has its share of every step, as without workers."""

    def stream() -> BatchStream:
        rows_of = FromStream(Endless(shards(1, 3, 2)), "batch_sampler", SamplerOptions(4))
        return BatchStream({None: rows_of}, processes=2)

    expected = list(itertools.islice(stream(), 20))
    for process in range(2):
        shard = IterableDatasetShard(stream(), 1, False, 2, process)
        loader = DataLoader(shard, batch_size=1, collate_fn=OnlyElement(plain), num_workers=workers)
        assert list(itertools.islice(loader, 10)) == expected[process::2]


class Stop(Exception):
    pass


class StopAt(TrainerCallback):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Stop


def run(folder: Path, setup: str, workers: int, stop: int | None = None, **how: Any) -> Any:
    build, options = SETUPS[setup]
    train = build()
    model = StubEncoder(hidden_dropout_prob=0.1)
    args = arguments(
        folder, max_steps=9, save_strategy="steps", save_steps=4, evaluate_base=False,
        dataloader_num_workers=workers, **options,
    )  # fmt: skip
    loss: Any = None
    if isinstance(train, dict):
        kinds = {"a": BinaryCrossEntropyLoss, "b": ListNetLoss}
        loss = kinds if setup == "stream and rows" else BinaryCrossEntropyLoss
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=train, loss=loss, callbacks=[StopAt(stop)]
    )
    trainer.train(**how)
    return weights(model)


@pytest.mark.parametrize("setup", ["rows", "shards, shuffled", "stream and rows"])
def test_a_run_goes_on_with_another_number_of_workers(tmp_path: Path, setup: str) -> None:
    """Bit for bit, with dropout; the fifth step is in the midst of a pass over the data."""
    whole: dict[str, Tensor] = run(tmp_path / "whole", setup, 0)
    with pytest.raises(Stop):
        run(tmp_path / "parts", setup, 2, stop=6)
    torch.manual_seed(99)
    resumed = run(tmp_path / "parts", setup, 1, resume_from_checkpoint=True)
    assert [name for name, value in whole.items() if not torch.equal(resumed[name], value)] == []
