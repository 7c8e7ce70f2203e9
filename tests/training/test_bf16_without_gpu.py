from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from rankwright import CrossEncoderTrainingArguments
from rankwright.training import arguments


@pytest.fixture(autouse=True)
def only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def processor(monkeypatch: pytest.MonkeyPatch, *, bf16: bool) -> None:
    best = torch.bfloat16 if bf16 else torch.float32
    monkeypatch.setattr(arguments, "resolve_precision", lambda precision, device: best)


def made(folder: Path, caplog: pytest.LogCaptureFixture, **options: bool) -> tuple[Any, str]:
    """The arguments with bf16=True, and what was said when they were made."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rankwright"):
        args = CrossEncoderTrainingArguments(str(folder), bf16=True, **options)
    return args, caplog.text


def test_bf16_needs_no_use_cpu_where_there_is_only_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, bf16=True)
    args, said = made(tmp_path, caplog)
    assert args.use_cpu
    assert args.bf16
    assert args.device.type == "cpu"
    assert not said
    assert not CrossEncoderTrainingArguments(str(tmp_path)).use_cpu


def test_a_cpu_without_bfloat16_trains_in_float32_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, bf16=False)
    args, said = made(tmp_path, caplog)
    assert args.use_cpu
    assert not args.bf16
    assert "float32" in said
    assert "emulate_bf16=True" in said
    args, said = made(tmp_path, caplog, emulate_bf16=True)
    assert args.bf16
    assert not said
