from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import tests.training.resume_worker as worker
from rankwright.training import find_checkpoint
from rankwright.training.checkpoints import problem_with
from tests.training.resume_worker import train

ROOT = Path(__file__).parents[2]


def run(folder: Path, **options: Any) -> int:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.training.resume_worker",
            json.dumps({"folder": str(folder), **options}),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def final(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "final.pt", weights_only=True)


def assert_identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert different == []


class Stop(Exception):
    pass


def stop_early(folder: str, **options: Any) -> None:
    """Trains until an exception comes in the place of the kill."""

    def stop() -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "die", stop)
        with pytest.raises(Stop):
            train(folder, **options)


SETUPS = {
    "dropout": {},
    "no dropout": {"dropout": 0.0},
    "workers": {"dataloader_num_workers": 2},
    "stream": {"stream": True},
    "stream and workers": {"stream": True, "dataloader_num_workers": 2},
    "accumulation": {"gradient_accumulation_steps": 2, "save_steps": 3},
    "no duplicates": {"batch_sampler": "no_duplicates"},
    "by length": {"train_sampling_strategy": "group_by_length"},
    "bf16": {"bf16": True, "emulate_bf16": True},
}


@pytest.mark.parametrize("setup", SETUPS)
def test_resuming_gives_the_weights_of_the_uninterrupted_run(tmp_path: Path, setup: str) -> None:
    """In one process: stop by an exception, start again from the newest checkpoint."""
    options = SETUPS[setup]
    torch.manual_seed(1)
    whole = train(str(tmp_path / "whole"), **options)

    stop_early(str(tmp_path / "parts"), kill_at=10, **options)
    newest = find_checkpoint(tmp_path / "parts")
    assert newest is not None
    assert newest.name in ("checkpoint-8", "checkpoint-9")
    torch.manual_seed(99)  # what the process drew before must not matter
    resumed = train(str(tmp_path / "parts"), resume=True, **options)
    assert_identical(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "expected"),
    [
        ({"kill_at": 5}, "checkpoint-4"),
        ({"kill_at": 11}, "checkpoint-8"),
        ({"kill_in_save": 8}, "checkpoint-4"),
    ],
)
def test_a_killed_process_resumes_bit_for_bit(
    tmp_path: Path, kill: dict[str, int], expected: str
) -> None:
    run(tmp_path / "whole")
    assert run(tmp_path / "parts", **kill) == -signal.SIGKILL
    newest = find_checkpoint(tmp_path / "parts")
    assert newest is not None
    assert newest.name == expected
    run(tmp_path / "parts", resume=True)
    assert_identical(final(tmp_path / "whole"), final(tmp_path / "parts"))
    assert find_checkpoint(tmp_path / "parts") == tmp_path / "parts" / "checkpoint-12"


@pytest.mark.slow
@pytest.mark.parametrize("keep", [None, 1])
def test_killed_at_random_moments_again_and_again(tmp_path: Path, keep: int | None) -> None:
    """Nearly all the time goes into checkpoints, so most kills come while one is written."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.resume_worker"])
    options = {"save_steps": 1, "save_total_limit": keep, "max_steps": 10}
    whole = context.Process(target=worker.take_up, args=(str(tmp_path / "whole"),), kwargs=options)
    whole.start()
    whole.join(120)
    assert whole.exitcode == 0
    folder = tmp_path / "parts"
    random, killed, partial, newest = Random(keep), 0, 0, 0
    for attempt in range(40):
        process = context.Process(target=worker.take_up, args=(str(folder),), kwargs=options)
        process.start()
        if attempt < 25:
            # From the moment that something new is in the folder, somewhere in the next steps.
            before = snapshot(folder)
            while process.is_alive() and snapshot(folder) == before:
                time.sleep(0.002)
            process.join(random.uniform(0.0, 0.12))
            process.kill()
        process.join(120)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        partial += any(problem_with(path) for path in folder.glob("checkpoint-*"))
        found = find_checkpoint(folder)
        step = 0 if found is None else int(found.name.removeprefix("checkpoint-"))
        assert step >= newest  # what was complete once is never lost
        newest = step
    assert killed >= 3
    assert partial >= 1
    assert_identical(final(tmp_path / "whole"), final(folder))


def snapshot(folder: Path) -> set[str]:
    # Path.rglob fails where the process removes a folder that it is about to list.
    return {
        os.path.join(at, name)
        for at, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def test_killed_in_the_save_with_one_checkpoint_kept(tmp_path: Path) -> None:
    """The only complete checkpoint stays until the next one is complete."""
    stop_early(str(tmp_path), kill_in_save=8, save_total_limit=1)
    newest = find_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "checkpoint-4"
    assert (tmp_path / "checkpoint-8").is_dir()  # the half-written one
    train(str(tmp_path), resume=True, save_total_limit=1)
    assert sorted(p.name for p in tmp_path.glob("*checkpoint*")) == ["checkpoint-12"]
