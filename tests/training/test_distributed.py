from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rankwright.training import find_checkpoint
from tests.training.distributed_worker import train
from tests.training.stub import StubEncoder

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "stream": {"stream": True},
    # The loss needs all scores of a batch, but only two pairs may be in memory at a time.
    "parts": {"whole": True, "batch_size": 6, "max_steps": 4, "save_steps": 4},
    "parts, accumulated, recomputed": {
        "whole": True,
        "batch_size": 3,
        "gradient_accumulation_steps": 2,
        "gradient_checkpointing": True,
    },
    # A step of many tokens is worked through in parts, and gradients are exchanged once.
    "shared out": {"max_tokens_per_pass": 24, "gradient_accumulation_steps": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does_with_twice_the_batch(tmp_path: Path, case: str) -> None:
    pair = tmp_path / "pair"
    options: dict[str, Any] = {"folder": str(pair), "batch_size": 2, **CASES[case]}
    last = options.get("max_steps", 6)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "tests.training.distributed_worker", json.dumps(options)),
        ],
        cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = tmp_path / "alone"
    double = {**options, "folder": str(alone), "batch_size": 2 * options["batch_size"]}
    expected = train(**double | {"stream": False})
    results = [json.loads((pair / f"result-{i}.json").read_text()) for i in range(2)]
    assert [r["processes"] for r in results] == [2, 2]
    # Before and after training; the first one evaluates for both.
    assert [r["calls"] for r in results] == [2, 0]
    for result in results:
        assert result["metrics"]["eval_steps"] == last
        assert result["metrics"]["eval_loss"] == pytest.approx(
            expected["metrics"]["eval_loss"], rel=1e-5
        )
    reference = torch.load(alone / "weights-0.pt", weights_only=True)
    for process in range(2):
        weights = torch.load(pair / f"weights-{process}.pt", weights_only=True)
        for name, value in reference.items():
            torch.testing.assert_close(weights[name], value, atol=1e-6, rtol=1e-5)
    start = StubEncoder().model.state_dict()
    assert any((reference[name] - start[name]).abs().max() > 1e-3 for name in start)
    assert find_checkpoint(pair) == pair / f"checkpoint-{last}"
