"""Lists of all lengths in two processes, in which a step's halves do not count alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import save_tiny, tiny_model
from tests.training.lists_worker import LOSSES, evaluator, ragged, train

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "mixture": {"dataloader_drop_last": True},
    "GroupSoftmax": {"gradient_accumulation_steps": 2},
    "WeightedSum": {"max_tokens_per_pass": 60},
}


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_batch(tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base", **STILL))
    jobs = [
        {"folder": str(tmp_path / name), "base": base, "batch_size": 3, "loss": name}
        | OPTIONS.get(name, {})
        for name in (*LOSSES, "mixture")
    ]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "tests.training.lists_worker", json.dumps(jobs)),
        ],
        cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # The halves of the first step are unlike in queries judged, in pairs and in pairs that differ.
    halves = [ragged(24)[:3], ragged(24)[3:6]]
    assert len({sum(len(row["documents"]) for row in half) for half in halves}) == 2
    start = tiny_model(**STILL)[0].state_dict()
    pairs = sum(len(sample["documents"]) for sample in evaluator().samples)
    for job in jobs:
        name, folder = str(job["loss"]), Path(str(job["folder"]))
        alone = tmp_path / f"{name}, alone"
        # Batches come from one data set each, so two of them in turn are what two processes do.
        double = {"gradient_accumulation_steps": 2} if name == "mixture" else {"batch_size": 6}
        expected = train(**job | {"folder": str(alone)} | double)
        reference = torch.load(alone / "weights-0.pt", weights_only=True)
        for process in range(2):
            result = json.loads((folder / f"result-{process}.json").read_text())
            assert result["losses"] == pytest.approx(expected["losses"], rel=2e-4), name
            # Before training and twice in it: the same figures, each pair scored by one process.
            assert result["evaluations"] == pytest.approx(expected["evaluations"], abs=1e-6)
            assert len(result["evaluations"]) == 3
            assert abs(result["scored"] - 3 * pairs / 2) <= 3
            weights = torch.load(folder / f"weights-{process}.pt", weights_only=True)
            for key, value in reference.items():
                torch.testing.assert_close(
                    weights[key], value, atol=2e-6, rtol=1e-5, msg=f"{name}: {key}"
                )
        assert expected["scored"] == 3 * pairs
        assert max(float((reference[k] - start[k]).abs().max()) for k in start) > 1e-3
