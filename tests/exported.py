"""Exported tiny models; PyTorch's exporter takes seconds, so each graph is exported once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from rankwright.export import ExportOptions, ExportReport, export_model
from rankwright.export import to_onnx as to_onnx_module
from tests.tiny import save_tiny

_GRAPHS: dict[Any, bytes] = {}
LIMITS = {"min_kendall_tau": -1.0, "max_ndcg_drop": 10.0, "max_difference": 10.0}
"""For tiny random models, which int8 harms more than trained ones."""
FEATURES = {
    "input_ids": np.asarray([[2, 9, 30, 3, 12, 3], [2, 8, 3, 7, 3, 0]]),
    "attention_mask": np.asarray([[1] * 6, [1] * 5 + [0]]),
    "token_type_ids": np.asarray([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]),
}
"""One padded batch."""


def _key(graph: Any, with_types: bool) -> Any:
    total = sum(float(p.detach().double().abs().sum()) for p in graph.parameters())
    return type(graph).__name__, with_types, round(total, 6)


@contextlib.contextmanager
def exported_once() -> Iterator[None]:
    """Inside the block equal modules are exported once per test process."""
    real = to_onnx_module.to_onnx

    def remembered(graph: Any, with_types: bool) -> Any:
        import onnx

        key = _key(graph, with_types)
        if key not in _GRAPHS:
            _GRAPHS[key] = real(graph, with_types).SerializeToString()
        return onnx.load_model_from_string(_GRAPHS[key])

    with mock.patch("rankwright.export.to_onnx.to_onnx", remembered):
        yield


def export(folder: Path, **options: Any) -> ExportReport:
    """`export_model` with graphs remembered."""
    with exported_once():
        return export_model(folder, ExportOptions(**options))


def tiny_folder(path: Path, family: str = "bert", **options: Any) -> Path:
    """A tiny model of two layers."""
    layers = "n_layers" if family == "distilbert" else "num_hidden_layers"
    return save_tiny(path, family, **{layers: 2, **options})


def exported_folder(path: Path, family: str = "bert", **options: Any) -> Path:
    """The same with an ONNX export in float32."""
    export(tiny_folder(path, family, **options))
    return path


def copied(folder: Path, target: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(folder, target)
    return target


def closeness(a: Any, b: Any) -> float:
    """Largest difference."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())
