"""The hub, without a network: a cache on disk, and a client that only records."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rankwright.errors import ModelNotFoundError, SaveError
from rankwright.model import CrossEncoder
from rankwright.model.hub import full_name
from tests.tiny import save_tiny, tiny_model

COMMIT = "0" * 40


def cached(cache: Path, name: str) -> Path:
    """A model as the hub's client keeps it: links from a snapshot to blobs."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    plain = save_tiny(cache / "plain")
    for number, file in enumerate(sorted(plain.iterdir())):
        shutil.move(file, repository / "blobs" / str(number))
        os.symlink(f"../../blobs/{number}", snapshot / file.name)
    plain.rmdir()
    return snapshot


@pytest.mark.parametrize("name", ["cross-encoder/tiny", "tiny"])
def test_from_the_local_cache(tmp_path: Path, name: str) -> None:
    snapshot = cached(tmp_path, "cross-encoder/tiny")
    model = CrossEncoder(name, cache_folder=str(tmp_path), local_files_only=True)
    assert model.predict(("a", "b")) == CrossEncoder(snapshot).predict(("a", "b"))
    assert model.model_card_data.base_model == "cross-encoder/tiny"
    assert "base_model: cross-encoder/tiny" in model.model_card()


def test_not_in_the_local_cache(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="not in the local cache"):
        CrossEncoder("me/mine", cache_folder=str(tmp_path), local_files_only=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ms-marco-MiniLM-L6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("stsb-roberta-base", "cross-encoder/stsb-roberta-base"),
        ("xlm-roberta-base", "xlm-roberta-base"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("microsoft/MiniLM-L12-H384-uncased", "microsoft/MiniLM-L12-H384-uncased"),
    ],
)
def test_short_names(name: str, expected: str) -> None:
    assert full_name(name) == expected


def http_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind("refused", response=response)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(RepositoryNotFoundError, 404), "no such model, or it is private"),
        (http_error(RevisionNotFoundError, 404), "no revision 'v9'"),
        (http_error(HfHubHTTPError, 500), "could not be reached"),
        (LocalEntryNotFoundError("offline"), "could not be reached"),
        (ConnectionError("offline"), "could not be reached"),
    ],
)
def test_why_the_hub_has_it_not(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelNotFoundError, match=message):
        CrossEncoder("me/mine", revision="v9")


def test_a_name_that_cannot_be() -> None:
    with pytest.raises(ModelNotFoundError, match="cannot be the name"):
        CrossEncoder("me/mine--yours..", local_files_only=True)


def test_what_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    folder = save_tiny(tmp_path / "model")

    def record(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", record)
    CrossEncoder("me/mine", revision="v9", token="secret", cache_folder="somewhere")
    assert (asked["name"], asked["revision"], asked["token"]) == ("me/mine", "v9", "secret")
    assert asked["cache_dir"] == "somewhere"
    assert "*.safetensors" in asked["allow_patterns"]
    assert not {"*.py", "*.bin"} & set(asked["allow_patterns"])
    CrossEncoder("me/mine", trust_remote_code=True)
    assert "*.py" in asked["allow_patterns"]


class FakeApi:
    """Records what a push asks of the hub and keeps the uploaded files."""

    calls: list[tuple[str, dict[str, Any]]]
    uploaded: Path
    has_card = False
    refuse: str | None = None

    def __init__(self, token: str | None = None) -> None:
        type(self).calls.append(("token", {"token": token}))

    def _note(self, name: str, options: dict[str, Any]) -> None:
        if self.refuse == name:
            raise http_error(HfHubHTTPError, 403)
        self.calls.append((name, options))

    def create_repo(self, **options: Any) -> Any:
        self._note("create_repo", options)
        return SimpleNamespace(repo_id=f"me/{options['repo_id']}")

    def create_branch(self, **options: Any) -> None:
        self._note("create_branch", options)

    def file_exists(self, **options: Any) -> bool:
        self._note("file_exists", options)
        return self.has_card

    def upload_folder(self, **options: Any) -> Any:
        self._note("upload_folder", options)
        shutil.copytree(options["folder_path"], self.uploaded)
        return SimpleNamespace(commit_url="http://hub/commit/1", pr_url="http://hub/pr/2")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeApi]:
    fake = type("Api", (FakeApi,), {"calls": [], "uploaded": tmp_path / "uploaded"})
    monkeypatch.setattr("huggingface_hub.HfApi", fake)
    return fake


def test_push(api: type[FakeApi]) -> None:
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    url = model.push_to_hub("mine", token="secret", private=True, train_datasets=["our logs"])
    assert url == "http://hub/commit/1"
    calls = dict(api.calls)
    assert calls["token"] == {"token": "secret"}
    assert calls["create_repo"] == {"repo_id": "mine", "private": True, "exist_ok": False}
    assert calls["upload_folder"]["repo_id"] == "me/mine"
    assert calls["upload_folder"]["ignore_patterns"] is None
    card = (api.uploaded / "README.md").read_text()
    assert "CrossEncoder('me/mine')" in card
    assert "our logs" in card
    scores = [m.predict([("a", "b")]) for m in (model, CrossEncoder(api.uploaded))]
    np.testing.assert_array_equal(*scores)


def test_push_to_a_pull_request_keeps_the_card(api: type[FakeApi], tmp_path: Path) -> None:
    api.has_card = True
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    folder = save_tiny(tmp_path / "local")
    url = model.push_to_hub(
        "mine", revision="next", create_pr=True, local_model_path=str(folder), commit_message="Hi"
    )
    assert url == "http://hub/pr/2"
    calls = dict(api.calls)
    assert calls["create_branch"]["branch"] == "next"
    assert calls["create_repo"]["exist_ok"] is True
    upload = calls["upload_folder"]
    assert (upload["commit_message"], upload["revision"]) == ("Hi", "next")
    assert upload["ignore_patterns"] == ["README.md"]
    assert not (api.uploaded / "rankwright.json").exists()


@pytest.mark.parametrize(
    ("call", "step"),
    [("create_repo", "create the repository"), ("upload_folder", "upload the files")],
)
def test_a_push_that_is_refused(api: type[FakeApi], call: str, step: str) -> None:
    api.refuse = call
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    with pytest.raises(SaveError, match=f"refused to {step}"):
        model.push_to_hub("mine")


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # make test sets it
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    with pytest.raises(SaveError, match="could not be reached to create the repository"):
        model.push_to_hub("me/mine", token="secret")
    with pytest.raises(ModelNotFoundError, match="could not be reached"):
        CrossEncoder("me/mine", cache_folder=str(tmp_path))


def test_which_files_are_downloaded_for_what() -> None:
    """Exports without the weights for PyTorch, and these without exports."""
    from huggingface_hub.utils import filter_repo_objects

    from rankwright.model import hub

    exports = {
        "onnx/model.onnx",
        "openvino/openvino_model.xml",
        "openvino/openvino_model.bin",
        "native/model_int16.safetensors",
    }
    files = {"config.json", "model.safetensors", *exports}
    torch_files = filter_repo_objects(
        files, allow_patterns=hub._PATTERNS, ignore_patterns=hub._IGNORED
    )
    assert set(torch_files) == {"config.json", "model.safetensors"}
    deployed = filter_repo_objects(
        files, allow_patterns=hub._EXPORT_PATTERNS, ignore_patterns=hub._EXPORT_IGNORED
    )
    assert set(deployed) == {"config.json", *exports}
