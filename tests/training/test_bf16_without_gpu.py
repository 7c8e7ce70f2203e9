from __future__ import annotations

import logging
from pathlib import Path

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


def test_bf16_needs_no_use_cpu_where_there_is_only_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, bf16=True)
    with caplog.at_level(logging.WARNING, "rankwright"):
        args = CrossEncoderTrainingArguments(str(tmp_path), bf16=True)
    assert args.use_cpu
    assert args.bf16
    assert args.device.type == "cpu"
    assert not caplog.records
    assert not CrossEncoderTrainingArguments(str(tmp_path)).use_cpu


def test_a_cpu_without_bfloat16_trains_in_float32_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, bf16=False)
    with caplog.at_level(logging.WARNING, "rankwright"):
        args = CrossEncoderTrainingArguments(str(tmp_path), bf16=True)
    assert args.use_cpu
    assert not args.bf16
    assert "float32" in caplog.text
    assert "emulate_bf16=True" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rankwright"):
        args = CrossEncoderTrainingArguments(str(tmp_path), bf16=True, emulate_bf16=True)
    assert args.bf16
    assert not caplog.records
