from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.worlds import write_beir_folder
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "bert")


@pytest.fixture(scope="session")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BEIR folder."""
    return write_beir_folder(tmp_path_factory.mktemp("data") / "beir")
