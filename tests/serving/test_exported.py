"""The server over an exported model: same scores, no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.errors import InputError, ModelNotFoundError
from rankwright.serving import ModelChoice, TorchModel, create_app, open_model
from tests.exported import LIMITS, export, tiny_folder
from tests.serving.live import listening

pytest.importorskip("onnxruntime")

QUERY = "sort a list"
TEXTS = ["open the file", "how do i sort a list of files", "remove a row " * 9]

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from starlette.testclient import TestClient
from rankwright.serving import ModelChoice, create_app, open_model
with TestClient(create_app(open_model(ModelChoice(sys.argv[1])))) as client:
    body = {"text_1": "sort a list", "text_2": ["open the file"]}
    print(client.post("/score", json=body).json()["data"][0]["score"])
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_folder(tmp_path_factory.mktemp("served") / "exported")
    export(folder, **LIMITS)
    return folder


def test_scores_are_those_of_torch(exported: Path) -> None:
    expected = CrossEncoder(str(exported)).predict([(QUERY, text) for text in TEXTS])
    model = open_model(ModelChoice(str(exported)))
    assert model.backend == "onnx fp32"
    with TestClient(create_app(model)) as client:
        data = client.post("/score", json={"text_1": QUERY, "text_2": TEXTS}).json()["data"]
        long = {"query": QUERY, "documents": [TEXTS[2] * 9], "long_documents": "max"}
        assert client.post("/v1/rerank", json=long).json()["meta"]["truncated_documents"] == 0
    np.testing.assert_allclose([row["score"] for row in data], expected, atol=1e-5)


def test_it_runs_without_torch(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(exported)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = CrossEncoder(str(exported)).predict((QUERY, TEXTS[0]))
    assert float(done.stdout) == pytest.approx(float(expected), abs=1e-5)


def test_the_golden_pairs_agree_over_http(exported: Path) -> None:
    from typer.testing import CliRunner

    from rankwright.cli.main import app

    with listening(create_app(open_model(ModelChoice(str(exported))))) as address:
        result = CliRunner().invoke(app, ["verify", str(exported), "--url", address])
    assert result.exit_code == 0, result.output


def test_which_backend_is_taken(exported: Path, folder: Path) -> None:
    assert open_model(ModelChoice(str(exported), "torch")).backend == "torch"
    assert open_model(ModelChoice(str(exported), device="cpu")).backend == "torch"
    assert isinstance(open_model(ModelChoice(str(folder))), TorchModel)
    with pytest.raises(ModelNotFoundError):
        open_model(ModelChoice(str(folder), "onnx"))
    with pytest.raises(InputError, match="auto, torch, onnx, openvino"):
        open_model(ModelChoice(str(folder), "tensorrt"))
