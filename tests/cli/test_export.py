"""`rankwright export`, `verify` and `bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankwright import CrossEncoder, Reranker
from tests.cli.worlds import assert_refused, run
from tests.exported import closeness, copied, exported_once, tiny_folder

LOOSE = ("--min-tau", -1, "--max-ndcg-drop", 9, "--max-difference", 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_folder(tmp_path_factory.mktemp("cli-export") / "m")
    golden = path.parent / "pairs.jsonl"
    row = {"query": "sort a list", "documents": ["sort files", "open the shell", "read a line"]}
    golden.write_text(json.dumps(row) + "\n")
    with exported_once():
        done = run("export", path, "--golden", golden, "--json")
        assert done.code == 0, done.err
        assert done.json["file"] == "onnx/model.onnx"
        assert done.json["golden"] == "3 pairs: pairs.jsonl"
        assert done.json["agreement"]["kendall_tau"] == 1.0
    return path


def test_export_to_a_folder_of_its_own(folder: Path, tmp_path: Path, beir: Path) -> None:
    out = tmp_path / "out"
    with exported_once():
        done = run("export", folder, "--precision", "int8", "-o", out, "--data", beir, *LOOSE)
    assert done.code == 0, done.err
    assert "computed in int8. Kendall tau" in done.out
    assert "10 test queries of beir" in done.out
    assert f"rankwright verify {out}" in " ".join(done.err.split())
    pairs = [("sort", "sort a list of files")]
    reference = CrossEncoder(folder, device="cpu").predict(pairs)
    assert closeness(Reranker(out).predict(pairs), reference) < 0.2


def test_an_export_that_does_not_agree(folder: Path, tmp_path: Path) -> None:
    with exported_once():
        done = run("export", folder, "--precision", "int8", "-o", tmp_path / "x", "--max-tries", 1,
                   "--max-difference", 0, "--json")  # fmt: skip
    assert_refused(done, "Not exported", "a score differs by", "--max-difference")
    assert not (tmp_path / "x").exists()


def test_verify(folder: Path, tmp_path: Path) -> None:
    done = run("verify", folder, "--json")
    assert done.code == 0, done.err
    assert {check["name"]: check["ok"] for check in done.json["checks"]} == {
        "torch float32": True,
        "onnx fp32": True,
        "server (tei)": True,
    }
    bad = copied(folder, tmp_path / "bad")
    golden = json.loads((bad / "golden.json").read_text())
    golden["queries"][0]["scores"].reverse()
    (bad / "golden.json").write_text(json.dumps(golden))
    done = run("verify", bad)
    assert done.code == 4
    assert done.out.count("NO") >= 2
    assert "Kendall tau is" in done.out


def test_bench(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path / "m")
    (path / "model.safetensors").unlink()
    done = run("bench", path, "--seconds", 0.05)
    assert done.code == 0, done.err
    assert "onnx fp32" in done.out
    assert "3 documents per query" in done.out


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    assert_refused(run("export", folder), "exists already", "--overwrite")
    assert_refused(run("export", folder, "--backend", "tflite"), "backend='tflite'")
    assert_refused(run("export", folder, "--precision", "bf16"), "openvino")
    assert_refused(run("export", folder, "--data", "a", "--golden", "b"), "give one of them")
    assert_refused(run("export", "./nowhere"), "There is no folder './nowhere'")
    assert_refused(run("export"), "MODEL")
    assert_refused(run("verify", folder, "--url", "localhost"), "http://127.0.0.1")
    assert_refused(run("verify", tiny_folder(tmp_path / "bare")), "rankwright export")
    assert_refused(run("bench", folder, "--seconds", 0), "--seconds")
