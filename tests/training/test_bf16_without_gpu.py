from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rankwright import CrossEncoderTrainingArguments


def test_bf16_needs_no_use_cpu_where_there_is_only_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    args = CrossEncoderTrainingArguments(str(tmp_path), bf16=True)
    assert args.use_cpu
    assert args.bf16
    assert args.device.type == "cpu"
    assert not CrossEncoderTrainingArguments(str(tmp_path)).use_cpu
