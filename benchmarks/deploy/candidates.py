"""Every row of the table: who scores, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CANDIDATES", "REFERENCE", "SIDES", "Candidate"]

SIDES = {
    "peer": "Sentence Transformers",
    "plain": "plain loop",
    "ours": "Rankwright",
}


@dataclass(frozen=True)
class Candidate:
    """One way of scoring.

    Attributes:
        name: Id of the row.
        side: A key of `SIDES`.
        title: What the table says.
        options: What its worker loads, where names of files are relative to the work folder.
        python: "ours", "peer" or "peer-openvino": whose environment.
        files: Patterns of the files that it needs in deployment, relative to the work folder.
        fixed_batch: Whether the batch size is the default, in place of the best of several.
    """

    name: str
    side: str
    title: str
    options: Mapping[str, str]
    files: tuple[str, ...]
    python: str = "ours"
    fixed_batch: bool = False
    worker: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worker", f"benchmarks.deploy.worker_{self.side}")


def _plain(backend: str, precision: str, file: str, title: str, name: str = "") -> Candidate:
    options = {"backend": backend, "precision": precision, "file": f"plain/{file}"}
    options["tokenizer"] = "model/tokenizer.json"
    engine = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}[backend]
    stem = file.rpartition(".")[0]
    files = (f"plain/{stem}.*", "model/tokenizer.json")
    name = name or f"plain-{backend}-{precision}"
    return Candidate(name, "plain", f"{engine}, {title}", options, files)


def _ours(backend: str, precision: str, folder: str, title: str) -> Candidate:
    engine = {
        "onnx": "ONNX Runtime",
        "openvino": "OpenVINO",
        "native": "native",
        "torch": "CrossEncoder",
    }[backend]
    options = {"backend": backend, "precision": precision, "folder": folder}
    return Candidate(
        f"ours-{backend}-{precision}", "ours", f"{engine}, {title}", options, (f"{folder}/**/*",),
        fixed_batch=True,
    )  # fmt: skip


_TORCH = {"backend": "torch", "precision": "float32", "folder": "model"}
_OPENVINO = {"backend": "openvino", "precision": "f32", "folder": "peer-openvino"}

CANDIDATES = (
    _ours("torch", "float32", "model", "float32"),  # first: rankings are compared with its own
    _ours("native", "int16", "native-int16", "int16"),
    Candidate(
        "peer-default", "peer", "PyTorch, float32, by default", _TORCH, ("model/**/*",),
        python="peer", fixed_batch=True,
    ),
    Candidate(
        "peer-torch", "peer", "PyTorch, float32, best batch size", _TORCH, ("model/**/*",),
        python="peer",
    ),
    Candidate(
        "peer-openvino", "peer", "OpenVINO, float32, best batch size", _OPENVINO,
        ("peer-openvino/**/*",), python="peer-openvino",
    ),
    _plain("onnx", "fp32", "model.onnx", "float32"),
    _plain("onnx", "int8", "model_int8.onnx", "int8"),
    _plain("onnx", "int8", "model_uint8.onnx", "int8, unsigned weights", "plain-onnx-uint8"),
    _plain("openvino", "fp32", "model.xml", "float32"),
    _plain("openvino", "bf16", "model.xml", "bfloat16"),
    _plain("openvino", "int8", "model_int8.xml", "int8"),
    _ours("native", "fp32", "native-fp32", "float32"),
    _ours("onnx", "fp32", "onnx-fp32", "float32"),
    _ours("onnx", "int8", "onnx-int8", "int8"),
    _ours("openvino", "fp32", "openvino-fp32", "float32"),
    _ours("openvino", "bf16", "openvino-bf16", "bfloat16"),
    _ours("openvino", "int8", "openvino-int8", "int8"),
)  # fmt: skip
"""In the order they are measured."""

REFERENCE = "ours-native-int16"
"""Each row is measured in turn with this one, so that rows can be compared on a busy machine."""
