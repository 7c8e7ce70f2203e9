from __future__ import annotations

from pathlib import Path

import pytest

from tests.exported import LIMITS, export, tiny_folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder without exports."""
    return tiny_folder(tmp_path_factory.mktemp("plain") / "m")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder with ONNX exports in float32 and int8."""
    folder = tiny_folder(tmp_path_factory.mktemp("exported") / "m")
    export(folder)
    export(folder, precision="int8", **LIMITS)
    return folder
