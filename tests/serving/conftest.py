"""A server for tests: a tiny model behind the real application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="session")
def model(folder: Path) -> CrossEncoder:
    return CrossEncoder(str(folder), max_length=32)


@pytest.fixture
def client(model: CrossEncoder) -> Iterator[TestClient]:
    with TestClient(create_app(TorchModel(model), ServerSettings(max_documents=50))) as client:
        yield client
