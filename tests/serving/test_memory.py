"""The server keeps freed memory for the next pass, and gives it back now and then."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.engine import allocator
from rankwright.serving import TorchModel, app, create_app
from rankwright.serving.model import ModelChoice, open_model


def test_memory_is_given_back_though_nobody_asks_anything(
    model: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = threading.Semaphore(0)
    monkeypatch.setattr(app, "GIVE_BACK_SECONDS", 0.01)
    monkeypatch.setattr(app, "give_back_freed_memory", times.release)
    with TestClient(create_app(TorchModel(model))):
        for _ in range(3):
            assert times.acquire(timeout=20)


def test_pytorch_keeps_memory_between_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: kept.append(True))
    assert open_model(ModelChoice(str(folder), backend="torch")).backend == "torch"
    assert kept == [True]
