"""A run that was killed after its last checkpoint is complete when it is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import IterableDataset

from rankwright.training import CrossEncoderTrainer
from tests.training.runs import arguments, weights
from tests.training.stub import StubEncoder, rows


def stream() -> Any:
    return IterableDataset.from_generator(lambda: iter(rows(20)))


def trained(folder: Path, data: Any, **how: Any) -> CrossEncoderTrainer:
    args = arguments(folder, max_steps=7, save_strategy="steps", save_steps=7, evaluate_base=False)
    trainer = CrossEncoderTrainer(
        model=StubEncoder(hidden_dropout_prob=0.1), args=args, train_dataset=data
    )
    trainer.train(**how)
    return trainer


# An epoch of 20 rows has five steps, so the seventh ends none; one of 28 rows has seven.
@pytest.mark.parametrize("data", [rows(20), stream(), rows(28)], ids=["midst", "stream", "end"])
def test_nothing_more_is_trained(tmp_path: Path, data: Any) -> None:
    whole = weights(trained(tmp_path, data).model)
    for _ in range(2):
        again = trained(tmp_path, data, resume_from_checkpoint=True)
        assert again.state.global_step == 7
        found = weights(again.model)
        assert [name for name in whole if not torch.equal(found[name], whole[name])] == []
        assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-7"]


def test_more_steps_go_on_from_there(tmp_path: Path) -> None:
    trained(tmp_path, rows(20))
    args = arguments(tmp_path, max_steps=9, evaluate_base=False)
    trainer = CrossEncoderTrainer(
        model=StubEncoder(hidden_dropout_prob=0.1), args=args, train_dataset=rows(20)
    )
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 9
