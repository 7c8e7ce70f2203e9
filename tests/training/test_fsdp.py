"""Weights in shards: the same training, with less held by each process."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rankwright import CrossEncoder
from rankwright.engine.ops import WeightCache, forget_weights, linear
from rankwright.errors import InputError
from rankwright.training import find_checkpoint
from rankwright.training.sharding import check_sharding
from tests.tiny import save_tiny
from tests.training.fsdp_worker import PAIRS, train
from tests.training.runs import arguments

QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def in_two_processes(*jobs: dict[str, Any]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "tests.training.fsdp_worker", json.dumps(jobs)),
        ],
        cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FSDP2" not in done.stderr, done.stderr  # its warnings


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"result-{i}.json").read_text()) for i in range(2)]


def weights(folder: Path, process: int = 0) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"weights-{process}.pt", weights_only=True)
    return found


KINDS: dict[str, dict[str, Any]] = {
    # Several backward passes in each micro-batch, and two micro-batches in each step.
    "shared out": {"max_tokens_per_pass": 24, "gradient_accumulation_steps": 2},
    # A loss that needs all scores, and learns too; only two pairs are in memory at a time.
    "whole": {"whole": True, "gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    "adapter": {"adapter": True, "learning_rate_mapping": {"classifier": 3e-3}},
    "bf16": {"bf16": True, "emulate_bf16": True, "max_grad_norm": 0.0, "optim": "sgd"},
}


@pytest.mark.slow
@pytest.mark.parametrize("names", [("shared out", "whole"), ("adapter", "bf16")])
def test_two_processes_with_shards_do_what_one_does_with_twice_the_batch(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    base = str(save_tiny(tmp_path / "base", **QUIET))
    kinds = {name: KINDS[name] for name in names}
    common = {"base": base, "max_steps": 4, "save_steps": 2}
    jobs = {
        name: {"folder": str(tmp_path / name), "batch_size": 3, "fsdp": "full_shard"}
        | common | options for name, options in kinds.items()
    }  # fmt: skip
    in_two_processes(*jobs.values())
    start = CrossEncoder(base).state_dict()
    for name, options in kinds.items():
        alone = tmp_path / f"{name}, alone"
        expected = train(str(alone), batch_size=6, **common, **options)
        assert expected["shares"][0][0] == 1.0
        reference = weights(alone)
        loose = 1e-3 if name == "bf16" else 1e-6
        for process, result in enumerate(results(tmp_path / name)):
            assert result["plain"]
            for held in result["shares"]:
                assert max(held) < 0.58, name  # rows do not come out even
            np.testing.assert_allclose(
                result["history"], expected["history"], rtol=1e-5 if loose < 1e-3 else 2e-2
            )
            assert result["metrics"]["eval_loss"] == pytest.approx(
                expected["metrics"]["eval_loss"], rel=1e-5 if loose < 1e-3 else 1e-2
            )
            for key, value in weights(tmp_path / name, process).items():
                torch.testing.assert_close(
                    value, reference[key], atol=loose, rtol=1e-5, msg=f"{name}: {key}"
                )
        if name != "adapter":  # which has other names
            assert max((start[k] - reference[k]).abs().max() for k in start) > 1e-3
    if "shared out" not in names:
        return
    # Files are those of a run without shards: one process goes on where two were.
    job = jobs["shared out"] | {"batch_size": 6, "fsdp": None, "folder": str(tmp_path / "on")}
    checkpoint = str(tmp_path / "shared out" / "checkpoint-2")
    train(**job, resume=checkpoint)
    for key, value in weights(tmp_path / "on").items():
        torch.testing.assert_close(
            value, weights(tmp_path / "shared out")[key], atol=1e-6, rtol=1e-5
        )


@pytest.mark.slow
def test_checkpoints_evaluations_and_the_best_model_are_whole(tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base"))  # with dropout
    common = {
        "base": base, "batch_size": 3, "fsdp": True, "max_steps": 6, "save_steps": 2,
        "eval_steps": 2, "eval_strategy": "steps", "evaluator": True, "adam_epsilon": 1e-8,
    }  # fmt: skip
    run, best = tmp_path / "run", tmp_path / "best"
    in_two_processes(
        {"folder": str(run), **common},
        {"folder": str(tmp_path / "on"), "resume": str(run / "checkpoint-2"), **common},
        {
            "folder": str(best), **common, "load_best_model_at_end": True,
            "metric_for_best_model": "eval_dev",
        },
    )  # fmt: skip
    first, second = results(run)
    assert sorted(first["seen"]) == ["0", "2", "4", "6"]  # and again after training
    assert second["seen"] == {}
    for step in (2, 4, 6):
        saved = CrossEncoder(run / f"checkpoint-{step}")
        np.testing.assert_allclose(
            saved.predict(PAIRS), first["seen"][str(step)], rtol=1e-5, atol=1e-7
        )
        assert (run / f"checkpoint-{step}" / "model.safetensors").is_file()
    assert first["predicted"] == second["predicted"] == first["seen"]["6"]
    assert first["seen"]["2"] != first["seen"]["4"] != first["seen"]["6"]
    assert find_checkpoint(run) == run / "checkpoint-6"
    # Resumed: bit for bit the run that was never interrupted, in both processes.
    for process in range(2):
        for key, value in weights(run, process).items():
            assert torch.equal(weights(tmp_path / "on", process)[key], value), key
    # The third evaluation, after step 4, was the best; its weights are back, in both processes.
    for process, result in enumerate(results(best)):
        assert result["best"] == str(best / "checkpoint-4")
        np.testing.assert_allclose(
            result["predicted"], CrossEncoder(best / "checkpoint-4").predict(PAIRS), rtol=1e-5
        )
        for key, value in CrossEncoder(best / "checkpoint-4").state_dict().items():
            assert torch.equal(weights(best, process)[key], value), key


@pytest.mark.parametrize("value", [True, "full_shard", ["full_shard"]])
def test_fsdp_is_kept_from_transformers(tmp_path: Path, value: Any) -> None:
    args = arguments(tmp_path, fsdp=value)
    assert args.shard_weights
    assert not args.fsdp
    assert replace(args, seed=3).shard_weights
    assert not arguments(tmp_path, fsdp=False).shard_weights


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fsdp": "shard_grad_op"}, "full_shard"),
        ({"fsdp": "full_shard auto_wrap"}, "leave auto_wrap out"),
        ({"fsdp": ["full_shard", "offload"]}, "offloading"),
        ({"fsdp": True, "fsdp_config": {"min_num_params": 5}}, "one unit"),
    ],
)
def test_other_ways_of_sharding_are_refused(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        arguments(tmp_path, **options)


@pytest.mark.parametrize("name", ["fp16", "auto_find_batch_size", "optimizers="])
def test_what_does_not_go_with_shards(name: str) -> None:
    args = SimpleNamespace(
        shard_weights=True, world_size=2, fp16=name == "fp16",
        auto_find_batch_size=name == "auto_find_batch_size",
    )  # fmt: skip
    with pytest.raises(InputError, match=name):
        check_sharding(args, object() if name == "optimizers=" else None)


def test_one_process_has_no_shards_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = str(save_tiny(tmp_path / "base", **QUIET))
    options = {"base": base, "batch_size": 6, "max_steps": 2, "save_steps": 2}
    with caplog.at_level(logging.WARNING):
        found = train(str(tmp_path / "run"), fsdp="full_shard", **options)
    assert "no effect in one process" in caplog.text
    assert found["predicted"] == train(str(tmp_path / "plain"), **options)["predicted"]


def test_kept_weights_can_be_forgotten() -> None:
    torch.manual_seed(0)
    layers = (nn.Linear(3, 2), nn.Linear(3, 2))
    cache, x = WeightCache(), torch.randn(4, 3)
    with torch.no_grad():
        before = linear(x, layers, cache)
        layers[0].weight.data.mul_(2)  # shows nowhere
        assert torch.equal(linear(x, layers, cache), before)
        forget_weights()
        expected = torch.cat([layer(x) for layer in layers], dim=-1)
        torch.testing.assert_close(linear(x, layers, cache), expected)
