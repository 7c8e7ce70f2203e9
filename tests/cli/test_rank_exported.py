"""`rankwright rank` with an exported model, and on a machine without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rankwright.model import CrossEncoder
from tests.cli.worlds import assert_refused, run, texts
from tests.exported import LIMITS, export, tiny_folder

pytest.importorskip("onnxruntime")

QUERY = "sort a list"
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "datasets", "accelerate", "bm25s", "scipy", "sklearn"):
    sys.modules[name] = None
from rankwright.cli.main import main
sys.argv[0] = "rankwright"
main()
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_folder(tmp_path_factory.mktemp("ranking") / "exported")
    export(folder, **LIMITS)
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "docs.txt"
    path.write_text("\n".join(texts(6).values()))
    return path


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def assert_ranked(answer: str, model: Path) -> None:
    ranking = json.loads(answer)["ranking"]
    lines = list(texts(6).values())
    expected = CrossEncoder(str(model), precision="float32").rank(QUERY, lines)
    assert [hit["text"] for hit in ranking] == [lines[hit["corpus_id"]] for hit in expected]
    scores = [hit["score"] for hit in expected]
    assert [hit["score"] for hit in ranking] == pytest.approx(scores, abs=1e-5)


def test_it_works_without_torch(exported: Path, documents: Path) -> None:
    ask = ("rank", "--model", exported, "--query", QUERY, "--documents", documents, "--json")
    done = without_torch(*ask)
    assert done.returncode == 0, done.stderr
    assert_ranked(done.stdout, exported)


def test_without_torch_and_without_an_export(model: Path, documents: Path) -> None:
    ask = ("rank", "--model", model, "--query", QUERY, "--documents", documents)
    done = without_torch(*ask)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "rankwright export" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_the_backend_that_is_asked_for(
    exported: Path, documents: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the weights were loaded")

    ask = ("rank", "--model", exported, "--query", QUERY, "--documents", documents, "--json")
    with monkeypatch.context() as patched:
        patched.setattr(CrossEncoder, "__init__", refuse)
        done = run(*ask, "--backend", backend)
        assert done.code == 0, done.err
        assert run(*ask, "--backend", backend, "--precision", "fp32").code == 0
        # A machine with PyTorch runs the weights, unless told otherwise.
        assert isinstance(run(*ask).exception, AssertionError) or run(*ask).code == 1
    assert_ranked(done.out, exported)
    assert_ranked(run(*ask, "--backend", "torch", "--precision", "float32").out, exported)


def test_max_length_is_obeyed_by_exports(exported: Path, documents: Path) -> None:
    ask = ("rank", "--model", exported, "--query", QUERY, "--documents", documents, "--json")
    short = run(*ask, "--backend", "onnx", "--max-length", 8).json["ranking"]
    lines = list(texts(6).values())
    model = CrossEncoder(str(exported), precision="float32", max_length=8)
    expected = model.rank(QUERY, lines)
    assert [h["score"] for h in short] == pytest.approx([h["score"] for h in expected], abs=1e-5)


def test_mistakes(exported: Path, model: Path, documents: Path) -> None:
    ask = ("rank", "--query", QUERY, "--documents", documents, "--model")
    assert_refused(run(*ask, exported, "--backend", "tensorrt"), "auto, torch, onnx, openvino")
    assert_refused(run(*ask, exported, "--backend", "onnx", "--precision", "int8"), "int8")
    assert_refused(run(*ask, model, "--backend", "onnx"), "rankwright export")
    assert run(*ask, model, "--backend", "auto", "--json").code == 0
