"""Trains in a process of its own, to be killed: python resume_worker.py '{"folder": ...}'."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from transformers import TrainerCallback

from rankwright.training import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    find_checkpoint,
)
from tests.training.stub import StubEncoder, rows


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            die()


class KilledTrainer(CrossEncoderTrainer):
    """Dies while the checkpoint of a step is half written."""

    kill_in_save = 0

    def _save_rng_state(self, output_dir: str) -> None:
        if self.state.global_step == self.kill_in_save:
            (Path(output_dir) / "rng_state.pth").write_bytes(b"half")
            die()
        super()._save_rng_state(output_dir)


def from_shards(seeds: list[int]) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        yield from rows(7 * seed, seed)


def train(
    folder: str,
    stream: bool = False,
    kill_at: int = 0,
    kill_in_save: int = 0,
    resume: bool = False,
    dropout: float = 0.1,
    **options: Any,
) -> StubEncoder:
    model = StubEncoder(hidden_dropout_prob=dropout)
    data: Any = rows(22)
    if stream:
        # Two shards of different length, so that workers do not reach their ends together.
        data = IterableDataset.from_generator(from_shards, gen_kwargs={"seeds": [1, 2]})
        data = data.shuffle(seed=3, buffer_size=8)
    args = CrossEncoderTrainingArguments(
        folder,
        **{
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "max_steps": 12,
            "save_steps": 4,
            "warmup_ratio": 0.2,
            "disable_tqdm": True,
            "use_cpu": True,
        }
        | options,
    )
    trainer = KilledTrainer(model=model, args=args, train_dataset=data, callbacks=[KillAt(kill_at)])
    trainer.kill_in_save = kill_in_save
    trainer.train(resume_from_checkpoint=resume)
    torch.save(model.model.state_dict(), Path(folder) / "final.pt")
    return model


def take_up(folder: str, **options: Any) -> None:
    """Trains from the newest complete checkpoint, or from the start if there is none yet."""
    logging.disable(logging.WARNING)  # partial checkpoints are expected here
    torch.set_num_threads(1)
    train(folder, resume=find_checkpoint(folder) is not None, **options)


if __name__ == "__main__":
    train(**json.loads(sys.argv[1]))
