"""An ONNX graph to OpenVINO's format, and its 8-bit form by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankwright.engine.cpu import exact_int8
from rankwright.engine.exported import Features
from rankwright.engine.openvino_runtime import openvino_module, without_reports
from rankwright.errors import ExportError, MissingDependencyError
from rankwright.export.onnx_graph import HEAD, unit_of

__all__ = ["quantise_openvino", "read_onnx", "save_openvino"]


def read_onnx(path: Path) -> Any:
    """An ``openvino.Model`` of an ONNX file; operations keep their names.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        ExportError: It cannot convert the graph.
    """
    openvino = openvino_module("Exporting to OpenVINO")
    try:
        model = openvino.Core().read_model(str(path))
    except RuntimeError as error:
        raise ExportError(
            f"OpenVINO {openvino.__version__} cannot convert this model: {error}. Export it with "
            "--backend onnx."
        ) from error
    return model


def save_openvino(model: Any, path: Path, half: bool = False) -> None:
    """Writes ``path`` (``.xml``) and its ``.bin``; with ``half`` weights are stored in 16 bits."""
    openvino = openvino_module("Exporting to OpenVINO")
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, str(path), compress_to_fp16=half)


def quantise_openvino(
    model: Any, keep: frozenset[str], calibration: Sequence[Features], full_range: bool | None
) -> Any:
    """The 8-bit form of a float32 model, calibrated on the given batches.

    Args:
        model: An ``openvino.Model`` from `read_onnx`; it is not changed.
        keep: Units that stay in float32, besides the head.
        calibration: At least one batch.
        full_range: Whether weights use all 8 bits; None decides by this processor.

    Raises:
        MissingDependencyError: NNCF is not installed.
        ExportError: NNCF failed.
    """
    nncf = _nncf()
    full = exact_int8() if full_range is None else full_range
    names = [op.get_friendly_name() for op in model.get_ordered_ops()]
    ignored = [name for name in names if unit_of(name) in keep | {HEAD}]
    fix = nncf.OverflowFix.DISABLE if full else nncf.OverflowFix.ENABLE
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            return nncf.quantize(
                model.clone(),
                nncf.Dataset(list(calibration), lambda batch: dict(batch)),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(calibration),
                fast_bias_correction=True,
                ignored_scope=nncf.IgnoredScope(
                    patterns=[re.escape(name) for name in ignored], validate=False
                ),
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
            )
    except Exception as error:  # NNCF raises many kinds
        raise ExportError(
            f"NNCF {nncf.__version__} cannot quantise this model ({type(error).__name__}: "
            f"{error}). Export it with --precision fp32 or bf16, or with --backend onnx."
        ) from error
    finally:
        logger.setLevel(level)


def _nncf() -> Any:
    try:
        with without_reports():
            import nncf
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "nncf", "openvino", "Quantising for OpenVINO"
        ) from error
    return nncf
