"""Folders that must be refused: unsafe, damaged, or of another kind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from rankwright.errors import (
    ConfigError,
    InputError,
    ModelError,
    ModelNotFoundError,
    UnsafeModelError,
    WeightsError,
)
from rankwright.model import CrossEncoder
from tests.model.folders import PAIRS, edit, write_version_6
from tests.tiny import save_tiny, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "C:\\x.safetensors"])
def test_shards_must_stay_inside(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(UnsafeModelError, match="leads outside"):
        CrossEncoder(folder)


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp", "link", "a/../../elsewhere"])
def test_module_paths_must_stay_inside(folder: Path, name: str) -> None:
    (folder.parent / "elsewhere").mkdir()
    os.symlink(folder.parent / "elsewhere", folder / "link")
    kind = "sentence_transformers.models.Transformer"
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": name, "type": kind}])
    )
    with pytest.raises(UnsafeModelError, match="leads outside"):
        CrossEncoder(folder)


def test_a_hub_cache_of_links_is_inside(tmp_path: Path) -> None:
    repository = tmp_path / "models--me--mine"
    snapshot = repository / "snapshots" / "abc"
    plain = tmp_path / "plain"
    model, tokenizer = tiny_model("bert")
    model.save_pretrained(plain, max_shard_size="40KB")
    tokenizer.save_pretrained(plain)
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(plain.iterdir())):
        shutil.move(file, repository / "blobs" / str(number))
        os.symlink(repository / "blobs" / str(number), snapshot / file.name)
    assert CrossEncoder(snapshot).predict(PAIRS).shape == (3,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_pickles_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(UnsafeModelError, match=r"pickle.*(.|\n)*save_pretrained"):
        CrossEncoder(folder)


def test_weights_that_are_not_whole(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    broken = {
        "header promises": whole[:-10],
        "but its header": whole + b"0",
        "too short": whole[:5],
        "corrupt header": whole[:8] + b"?" * (len(whole) - 8),
        "truncated or corrupt": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    }
    for message, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            CrossEncoder(folder)
    path.unlink()
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        CrossEncoder(folder)


def test_weights_of_another_model(folder: Path) -> None:
    edit(folder / "config.json", hidden_size=64)
    with pytest.raises(WeightsError, match=r"another shape.*\(.*32.*64"):
        CrossEncoder(folder)


def test_weights_with_tensors_missing(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"], tensors["classifier.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lack 2 of the tensors"):
        CrossEncoder(folder)


def test_another_number_of_labels(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WeightsError, match=r"head for 1 label\(s\), but num_labels=3"):
        CrossEncoder(folder, num_labels=3)
    model = CrossEncoder(folder, num_labels=3, model_kwargs={"ignore_mismatched_sizes": True})
    assert model.predict(PAIRS).shape == (3, 3)
    assert "no trained classification head for 3" in caplog.text
    with pytest.raises(InputError, match="num_labels=0"):
        CrossEncoder(folder, num_labels=0)


def test_malformed_json_names_file_and_line(folder: Path) -> None:
    for name in ("config.json", "config_sentence_transformers.json", "modules.json"):
        path = folder / name
        before = path.read_text() if path.exists() else None
        path.write_text('{\n  "a": 1,\n  "b" 2\n}')
        with pytest.raises(ConfigError, match=rf"{name}, line 3, column 7"):
            CrossEncoder(folder)
        path.write_text("[]" if name != "modules.json" else "{}")
        with pytest.raises(ConfigError, match=name):
            CrossEncoder(folder)
        path.unlink()
        if before is not None:
            path.write_text(before)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        CrossEncoder(folder)


def test_kinds_of_model_that_cannot_rerank(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    edit(folder / "config.json", architectures=["Qwen3ForCausalLM"])
    with pytest.raises(ModelError, match="turned into a causal"):
        CrossEncoder(folder)
    (folder / "config.json").write_text(config)
    edit(folder / "config.json", model_type="nosuchmodel")
    with pytest.raises(ModelError, match="nosuchmodel"):
        CrossEncoder(folder)
    (folder / "config.json").write_text(config)
    write_version_6(folder, "torch.nn.modules.linear.Identity")
    modules = json.loads((folder / "modules.json").read_text())
    head = "sentence_transformers.base.modules.dense.Dense"
    for kind, error in ((head, ModelError), ("my_code.Head", UnsafeModelError)):
        extra = {"idx": 1, "name": "1", "path": "1_Head", "type": kind}
        (folder / "modules.json").write_text(json.dumps([*modules, extra]))
        with pytest.raises(error, match=kind):
            CrossEncoder(folder)
    kind = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"
    extra = {"idx": 1, "name": "1", "path": "1_LogitScore", "type": kind}
    (folder / "modules.json").write_text(json.dumps([*modules, extra]))
    with pytest.raises(ConfigError, match="'1_LogitScore', which is not there"):
        CrossEncoder(folder)
    (folder / "1_LogitScore").mkdir()
    edit(folder / "1_LogitScore" / "config.json", true_token_id=1, false_token_id=2)
    with pytest.raises(ModelError, match="has none"):
        CrossEncoder(folder)


def test_custom_code_needs_trust(folder: Path) -> None:
    edit(
        folder / "config.json",
        model_type="theirs",
        auto_map={"AutoConfig": "theirs.Config"},
    )
    (folder / "theirs.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(UnsafeModelError, match="trust_remote_code=True"):
        CrossEncoder(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        CrossEncoder(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder"):
        CrossEncoder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotFoundError, match="it is a file"):
        CrossEncoder(tmp_path / "file")
