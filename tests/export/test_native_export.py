"""Exports for the compiled library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from rankwright import CrossEncoder, Reranker
from rankwright.engine.native import library
from rankwright.engine.native.files import read_native
from rankwright.errors import ExportError, InputError, ModelError
from rankwright.export import ExportOptions, VerifyOptions, verify_model
from rankwright.model.exports import read_exports
from rankwright.model.folder import ModelFolder
from tests.exported import LIMITS, closeness, copied, export, tiny_folder
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.skipif(
    library.unavailable() is not None, reason=f"the compiled library: {library.unavailable()}"
)
PAIRS = [
    ("how do i sort", "sort a list of files by size " * 3),
    ("open", "close the file"),
    ("a", "b"),
    ("search " * 30, "word"),
]
INT16 = "native/model_int16.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with both exports."""
    path = tiny_folder(tmp_path_factory.mktemp("native") / "m")
    export(path, backend="native")
    export(path, backend="native", precision="int16")
    return path


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "modernbert"])
def test_every_family_scores_as_its_weights(family: str, tmp_path: Path) -> None:
    sizes = {"embedding_size": 32} if family == "electra" else {}
    path = tiny_folder(tmp_path / "m", family, **sizes)
    reference = CrossEncoder(path, device="cpu").predict(PAIRS)
    for precision, bound in (("fp32", 1e-5), ("int16", 1e-3)):
        found = export(path, backend="native", precision=precision, output=tmp_path / "out")
        assert found.agreement.kendall_tau > 0.98
        model = Reranker(tmp_path / "out", backend="native", precision=precision)
        assert closeness(model.predict(PAIRS), reference) < bound
        assert model.computes == ("float32" if precision == "fp32" else "int16")


def test_padding_ids_inside_a_text_and_mean_pooling(tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "roberta", "roberta")
    pad = tiny_tokenizer("roberta").pad_token
    pairs = [(f"sort {pad} files", f"{pad} open {pad}"), ("a", "b")]
    export(path, backend="native")
    plain = CrossEncoder(path, device="cpu").predict(pairs)
    assert closeness(Reranker(path).predict(pairs), plain) < 1e-5

    path = tiny_folder(tmp_path / "mean")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "classifier_pooling": "mean"}))
    export(path, backend="native")
    plain = CrossEncoder(path, device="cpu").predict(PAIRS)
    assert closeness(Reranker(path).predict(PAIRS), plain) < 1e-5


def test_auto_takes_the_fastest_verified_one(folder: Path) -> None:
    entries = read_exports(ModelFolder(folder)).entries
    assert {(e.backend, e.precision, e.verified) for e in entries} == {
        ("native", "fp32", ("float32",)),
        ("native", "int16", ("int16",)),
    }
    assert Reranker(folder).backend == "native"
    found = verify_model(folder, VerifyOptions(record=False))
    assert found.ok
    checked = {check.name for check in found.checks if check.ok}
    assert checked >= {"native fp32", "native int16"}


def test_it_runs_without_torch_and_onnx_runtime(folder: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnxruntime', 'openvino'):\n"
        "    sys.modules[name] = None\n"
        "from rankwright import Reranker\n"
        f"model = Reranker({str(folder)!r}, precision='int16')\n"
        "print(model.predict(('how do i sort', 'sort a list')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = CrossEncoder(folder, device="cpu").predict(("how do i sort", "sort a list"))
    assert float(done.stdout) == pytest.approx(float(wanted), abs=1e-3)


def test_batches_and_threads_change_nothing_but_rounding_in_the_head(folder: Path) -> None:
    model = Reranker(folder, backend="native", precision="int16", threads=1)
    pairs = [("sort " * (i % 7 + 1), "list " * (i % 11)) for i in range(60)]
    whole = model.predict(pairs)
    assert closeness(model.predict(pairs, batch_size=3), whole) < 1e-6
    other = Reranker(folder, precision="int16", threads=3)
    assert closeness(other.predict(pairs), whole) < 1e-6


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"precision": "bf16"}])
def test_precisions_it_does_not_have(options: Any) -> None:
    with pytest.raises(InputError, match="native has fp32 and int16"):
        ExportOptions(backend="native", **options)
    with pytest.raises(InputError, match="onnx has no models in int16"):
        ExportOptions(precision="int16")


def test_a_model_it_cannot_run(tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "m", "modernbert")
    with pytest.raises(ExportError, match="BERT and its relatives only.*--backend onnx"):
        export(path, backend="native")
    assert not (path / "native").exists()


def test_the_gate_refuses(tmp_path: Path) -> None:
    path = tiny_folder(tmp_path / "m")
    with pytest.raises(ExportError, match="int16 on native.*too far"):
        export(path, backend="native", precision="int16", **{**LIMITS, "max_difference": 1e-9})


def test_without_the_library(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "unavailable", lambda: "it was not built")
    monkeypatch.setattr("rankwright.export.pipeline.unavailable", lambda: "it was not built")
    with pytest.raises(ExportError, match="it was not built"):
        export(tiny_folder(tmp_path / "m"), backend="native")
    with pytest.raises(ModelError, match="compiled library, but it was not built"):
        Reranker(folder, backend="native", precision="int16")


DAMAGES: dict[str, tuple[Any, str]] = {
    "missing": (lambda t: t.pop("layers.0.up.weight"), "layers.0.up.weight"),
    "shape": (lambda t: t.update({"layers.1.down.weight": t["layers.1.out.weight"]}), "down has"),
    "dtype": (lambda t: t.update(words=t["words"].astype(np.float16)), "words is 2-dim.*float16"),
    "mixed": (lambda t: _as_floats(t, "layers.1.out"), "some of its layers are integers"),
    "scales": (lambda t: t.update({"layers.0.qkv.scales": np.ones(5, np.float32)}), "5 numbers"),
    "norm": (lambda t: t.update({"norm.weight": np.ones(9, np.float32)}), "several widths"),
    "head": (lambda t: t.update({"dense.weight": np.ones((32, 9), np.float32)}), "does not fit"),
}


def _as_floats(tensors: dict[str, Any], name: str) -> None:
    tensors[f"{name}.weight"] = tensors[f"{name}.weight"].astype(np.float32)
    del tensors[f"{name}.scales"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    change, message = DAMAGES[damage]
    path = copied(folder, tmp_path / "m") / INT16
    tensors, about = load_file(path), _metadata(path)
    change(tensors)
    save_file(tensors, path, about)
    with pytest.raises(ModelError, match=message):
        read_native(path)


def test_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its format is 'pt'"):
        read_native(folder / "model.safetensors")
    (tmp_path / "cut").write_bytes((folder / INT16).read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged"):
        read_native(tmp_path / "cut")
    with pytest.raises(ModelError, match="cannot be loaded"):
        read_native(tmp_path / "none")


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        found: dict[str, str] = file.metadata()
        return found


def test_a_head_with_an_adapter_is_refused(tmp_path: Path) -> None:
    from rankwright.export.to_native import save_native

    class Other(torch.nn.Linear):
        pass

    model, _ = tiny_model("bert")
    model.classifier = Other(32, 1)
    with pytest.raises(ExportError, match="its head has adapters"):
        save_native(model, tmp_path / "f", "fp32", True)
    assert not (tmp_path / "f").exists()
