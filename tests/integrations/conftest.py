"""One tiny model in memory, as folder, and exported; telemetry of frameworks is off."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rankwright import CrossEncoder
from tests.exported import export, tiny_folder
from tests.integrations.texts import QUERY, TEXTS

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("integrated") / "tiny")


@pytest.fixture(scope="session")
def model(folder: Path) -> CrossEncoder:
    return CrossEncoder(str(folder))


@pytest.fixture(scope="session")
def scores(model: CrossEncoder) -> dict[str, float]:
    """Text -> score for the query."""
    found = model.predict([(QUERY, text) for text in TEXTS])
    assert len(set(found.round(4).tolist())) == len(TEXTS)
    return dict(zip(TEXTS, found.tolist(), strict=True))


@pytest.fixture(scope="session")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with an ONNX export beside its weights."""
    pytest.importorskip("onnxscript")
    target = tmp_path_factory.mktemp("integrated") / "exported"
    shutil.copytree(folder, target)
    export(target)
    return target
