"""`rankwright verify` asks the package's own server, if it can."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.worlds import run
from tests.exported import LIMITS, copied, export, tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_folder(tmp_path_factory.mktemp("cli-verify") / "m")
    export(path, **LIMITS)
    return path


def names(done: object) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in done.json["checks"]}  # type: ignore[attr-defined]


def test_the_server_is_asked(folder: Path) -> None:
    done = run("verify", folder, "--json")
    assert done.code == 0, done.err
    assert names(done)["server (tei)"] is True
    done = run("verify", folder, "--schema", "cohere", "--json")
    assert names(done)["server (cohere)"] is True
    done = run("verify", folder, "--no-server", "--json")
    assert not any("server" in name for name in names(done))


def test_a_server_that_scores_otherwise_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankwright.serving import ExportedModel

    right = ExportedModel.logits
    monkeypatch.setattr(ExportedModel, "logits", lambda self, pairs: -right(self, pairs))
    done = run("verify", folder, "--json")
    assert done.code == 4
    assert names(done) == {"torch float32": True, "onnx fp32": True, "server (tei)": False}


def test_without_the_servers_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("rankwright.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("verify", folder)
    assert done.code == 0
    assert "server: not run, uvicorn is missing" in " ".join(done.out.split())


def test_a_model_that_cannot_be_served(tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "m", num_labels=2)
    export(path, **LIMITS)
    done = run("verify", copied(path, tmp_path / "copy"))
    assert done.code == 0, done.err
    assert "server: not run: The server ranks by one score" in " ".join(done.out.split())
