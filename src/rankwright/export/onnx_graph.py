"""ONNX graphs as files, and which part of the model each of their operations belongs to."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from rankwright.errors import MissingDependencyError

__all__ = ["EMBEDDINGS", "HEAD", "onnx_package", "save_onnx", "unit_of"]

_LAYER = re.compile(r"^(?:.*\.)?(?:layers?|blocks?|h)\.(\d+)(?=[./]|$)")
_LARGEST = 1_800_000_000  # protobuf files end at 2 GiB; larger weights go to a file beside

HEAD, EMBEDDINGS = "head", "embeddings"
_HEADS = ("classifier", "pooler", "pre_classifier", "model.head", "score")


def onnx_package(purpose: str) -> Any:
    """The ``onnx`` package.

    Raises:
        MissingDependencyError: It, or onnxscript, which PyTorch's exporter needs, is missing.
    """
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            raise MissingDependencyError.for_package(package, "onnx", purpose) from error
    import onnx

    return onnx


def unit_of(name: str) -> str | None:
    """Which part of the model an operation belongs to, by its name.

    Returns:
        ``"layers.N"``, ``"embeddings"``, ``"head"``, or None for operations in between.
    """
    layer = _LAYER.match(name)
    if layer is not None:
        return f"layers.{layer[1]}"
    scope = name.partition("/")[0]
    if "embedding" in scope:
        return EMBEDDINGS
    parts = scope.split(".")
    return HEAD if any(h in scope or h in parts for h in _HEADS) else None


def save_onnx(model: Any, path: Path, largest: int = _LARGEST) -> None:
    """Writes a model; weights beyond ``largest`` bytes go to ``<name>_data`` beside it."""
    onnx = onnx_package("Exporting a model")
    path.parent.mkdir(parents=True, exist_ok=True)
    if model.ByteSize() <= largest:
        onnx.save_model(model, str(path))
        return
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}_data",
    )
