"""Where exported models lie in a folder: names that Sentence Transformers and Optimum also use."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["export_name", "model_size"]


def export_name(backend: str, precision: str, full_range: bool = False) -> str:
    """Path inside the model folder, with forward slashes.

    Args:
        backend: ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: ``"fp32"``, ``"bf16"``, ``"int16"`` or ``"int8"``.
        full_range: For ONNX in int8: whether the weights are for processors that need all 8 bits.
    """
    if backend == "onnx":
        return "onnx/model.onnx" if precision == "fp32" else f"onnx/model_qint8_{_kind(full_range)}"
    if backend == "native":
        return f"native/model{'' if precision == 'fp32' else '_int16'}.safetensors"
    suffix = {"fp32": "", "bf16": "_bf16", "int8": "_qint8_quantized"}[precision]
    return f"openvino/openvino_model{suffix}.xml"


def _kind(full_range: bool) -> str:
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64.onnx"
    return "avx512_vnni.onnx" if full_range else "avx2.onnx"


def model_size(path: Path) -> int:
    """Bytes of an exported model, with the file of weights that may lie beside it."""
    beside = (path.with_name(f"{path.name}_data"), path.with_suffix(".bin"))
    return sum(file.stat().st_size for file in (path, *beside) if file.is_file())
