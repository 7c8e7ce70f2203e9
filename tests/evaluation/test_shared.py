"""Two processes evaluate together (gloo, started afresh)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.shared_worker import evaluators, tiny

pytestmark = pytest.mark.slow

NAMES = ("each", "led", "led_failing", "scoring_fails", "only_first", "own_samples")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Name -> the two processes' results."""
    folder = tmp_path_factory.mktemp("shared")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.evaluation.shared_worker", str(folder), str(rank), "2",
             *NAMES],
            cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = []
    for process in processes:
        try:
            outputs.append(process.communicate(timeout=120)[0])
        finally:
            process.kill()
    assert [p.returncode for p in processes] == [0, 0], "\n".join(outputs)
    results: dict[str, Any] = {
        name: [json.loads((folder / name / f"result-{i}.json").read_text()) for i in range(2)]
        for name in NAMES
    }
    return results | {"folder": folder, "outputs": outputs}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    model = tiny()
    return {"metrics": evaluators()(model), "pairs": len(model.pairs)}


@pytest.mark.parametrize("name", ["each", "led", "only_first", "own_samples"])
def test_metrics_are_those_of_one_process(
    name: str, found: dict[str, Any], alone: dict[str, Any]
) -> None:
    first, second = (result["metrics"] for result in found[name])
    assert first == second  # exactly
    for key, value in alone["metrics"].items():
        assert first[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("name", ["each", "led"])
def test_each_scores_its_share_and_the_first_one_writes(
    name: str, found: dict[str, Any], alone: dict[str, Any]
) -> None:
    counts = [result["pairs"] for result in found[name]]
    assert sum(counts) == alone["pairs"]
    assert abs(counts[0] - counts[1]) <= 4  # one per evaluator
    files = list((found["folder"] / name / "csv-0").iterdir())
    assert len(files) == 4
    assert all(len(file.read_text().splitlines()) == 2 for file in files)
    assert not (found["folder"] / name / "csv-1").exists()


def test_own_code_runs_in_the_first_process_only(found: dict[str, Any]) -> None:
    assert [result["ran"] for result in found["led"]] == [[0], []]
    assert all("spearman" in result["metrics"] for result in found["led"])


def test_failures_reach_all_and_nobody_hangs(found: dict[str, Any]) -> None:
    first, second = found["led_failing"]
    assert first["error"] == "ZeroDivisionError"
    assert second["error"] == "RankwrightError"
    assert "failed in the first process: ZeroDivisionError" in second["message"]
    first, second = found["scoring_fails"]
    assert second["error"] == "ValueError"
    assert first["error"] == "RankwrightError"
    assert "failed in process 1: ValueError: out of memory" in first["message"]


def test_one_process_alone_does_not_wait_for_the_others(
    found: dict[str, Any], alone: dict[str, Any]
) -> None:
    assert [r["pairs"] for r in found["only_first"]] == [2 * alone["pairs"], alone["pairs"]]
    assert found["outputs"][0].count("Not all 2 processes came to this evaluation") == 1


def test_different_samples_are_not_mixed(found: dict[str, Any], alone: dict[str, Any]) -> None:
    first, second = found["own_samples"]
    assert first["scored"] == second["scored"] == 20
    assert first["own"] != second["own"]
    assert first["pairs"] + second["pairs"] == 40 + alone["pairs"]
