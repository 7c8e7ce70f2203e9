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


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_two_processes_do_what_one_does_with_twice_the_batch(tmp_path: Path, stream: bool) -> None:
    pair = tmp_path / "pair"
    options: dict[str, Any] = {"folder": str(pair), "batch_size": 2, "stream": stream}
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
    expected = train(str(alone), batch_size=4)
    results = [json.loads((pair / f"result-{i}.json").read_text()) for i in range(2)]
    assert [r["processes"] for r in results] == [2, 2]
    assert [r["calls"] for r in results] == [1, 0]  # the first one evaluates for both
    for result in results:
        assert result["metrics"]["eval_steps"] == 6.0
        assert result["metrics"]["eval_loss"] == pytest.approx(
            expected["metrics"]["eval_loss"], rel=1e-5
        )
    reference = torch.load(alone / "weights-0.pt", weights_only=True)
    for process in range(2):
        weights = torch.load(pair / f"weights-{process}.pt", weights_only=True)
        for name, value in reference.items():
            torch.testing.assert_close(weights[name], value, atol=1e-6, rtol=1e-5)
    assert find_checkpoint(pair) == pair / "checkpoint-6"
