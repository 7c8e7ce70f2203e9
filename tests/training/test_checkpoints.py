from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rankwright.errors import TrainingError, WeightsError
from rankwright.training.checkpoints import (
    MARKER,
    complete_checkpoints,
    find_checkpoint,
    mark_complete,
    problem_with,
    require_complete,
    rotate,
    set_aside,
)
from rankwright.training.weights import load_weights
from tests.training.runs import arguments
from tests.training.stub import StubEncoder, rows


def make(folder: Path, step: int, *, saved_at: float | None = None, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "inner" / "more.json").write_text("{}", encoding="utf-8")
    if complete:
        mark_complete(path, step)
    if saved_at is not None:
        marker = json.loads((path / MARKER).read_text())
        (path / MARKER).write_text(json.dumps(marker | {"saved_at": saved_at}))
    return path


def names(folder: Path) -> list[str]:
    return [c.path.name for c in complete_checkpoints(folder)]


def test_the_newest_complete_one_is_found(tmp_path: Path) -> None:
    make(tmp_path, 2)
    make(tmp_path, 10)
    make(tmp_path, 12, complete=False)
    (tmp_path / "checkpoint-notes").mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert find_checkpoint(tmp_path / "nowhere") is None


def test_an_older_longer_run_does_not_win(tmp_path: Path) -> None:
    make(tmp_path, 500, saved_at=1000.0)
    make(tmp_path, 100, saved_at=2000.0)
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / MARKER).unlink(), "is missing, so saving was interrupted"),
        (lambda p: (p / MARKER).write_text('{"files": '), "cannot be read"),
        (lambda p: (p / MARKER).write_text("[]"), "cannot be read"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda p: (p / "model.safetensors").write_bytes(b"w"), "1 bytes instead of 7"),
        (lambda p: (p / "inner" / "more.json").unlink(), "inner/more.json is missing"),
    ],
)
def test_damage_is_seen_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, words: str
) -> None:
    path = make(tmp_path, 3)
    assert problem_with(path) is None
    damage(path)
    assert words in (problem_with(path) or "")
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(tmp_path) is None
    assert words in caplog.text
    with pytest.raises(TrainingError, match="cannot resume from"):
        require_complete(path)


def test_rotation_counts_complete_ones_only(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        make(tmp_path, step, saved_at=float(step))
    make(tmp_path, 9, complete=False)
    rotate(tmp_path, 2, None)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]
    assert (tmp_path / "checkpoint-9").is_dir()


def test_rotation_keeps_the_best_and_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        make(tmp_path, step, saved_at=float(step))
    rotate(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    rotate(tmp_path, None, None)
    rotate(tmp_path, 0, None)
    assert len(names(tmp_path)) == 2


def test_a_complete_one_of_the_same_step_is_set_aside_until_replaced(tmp_path: Path) -> None:
    path = make(tmp_path, 4)
    aside = set_aside(path)
    assert aside is not None
    assert not path.exists()
    make(tmp_path, 4, complete=False)  # killed here: the old one comes back
    assert find_checkpoint(tmp_path) == path
    assert problem_with(path) is None
    assert not aside.exists()


def test_a_partial_one_of_the_same_step_is_removed(tmp_path: Path) -> None:
    path = make(tmp_path, 4, complete=False)
    assert set_aside(path) is None
    assert not path.exists()


def test_checkpoints_of_the_trainer_are_complete_and_rotated(tmp_path: Path) -> None:
    from rankwright.training import CrossEncoderTrainer

    args = arguments(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2, max_steps=4)
    for _ in range(2):  # the second run writes into the folder of the first
        CrossEncoderTrainer(model=StubEncoder(), args=args, train_dataset=rows(16)).train()
        assert names(tmp_path) == ["checkpoint-3", "checkpoint-4"]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    files = {p.name for p in (tmp_path / "checkpoint-4").iterdir()}
    assert "README.md" not in files
    assert "training_args.bin" not in files
    assert {MARKER, "model.safetensors", "optimizer.pt", "trainer_state.json"} <= files


def test_resuming_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    from rankwright.training import CrossEncoderTrainer

    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(tmp_path), train_dataset=rows(8)
    )
    with pytest.raises(TrainingError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(TrainingError, match="there is no such folder"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))


@pytest.mark.parametrize("shards", ["5GB", "20KB"])
def test_weights_come_back_whole_or_in_shards(tmp_path: Path, shards: str) -> None:
    source, target = StubEncoder(), StubEncoder()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    source.model.save_pretrained(tmp_path, max_shard_size=shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards == "20KB")
    load_weights(target.model, tmp_path)
    expected = source.model.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in target.model.state_dict().items())


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    model = StubEncoder()
    with pytest.raises(WeightsError, match="neither"):
        load_weights(model.model, tmp_path)
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="outside the folder"):
        load_weights(model.model, tmp_path)
    model.model.config.save_pretrained(tmp_path)
    state = model.model.state_dict()
    state["classifier.weight"] = torch.zeros(1, 5)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_weights(model.model, tmp_path)
