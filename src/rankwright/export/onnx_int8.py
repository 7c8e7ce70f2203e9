"""8-bit weights and products for ONNX Runtime.

*Dynamic*: each product measures the range of its input when it runs; nothing needs calibrating.
*Static*: ranges are measured beforehand on calibration pairs, which saves that work and loses
accuracy where texts differ from them. In both, weights have one scale per output column, the head
stays in float32, and so do products of activations with each other (attention).

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv 1712.05877.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.cpu import exact_int8
from rankwright.engine.exported import Features
from rankwright.errors import InputError, MissingDependencyError
from rankwright.export.onnx_graph import EMBEDDINGS, HEAD, onnx_package, save_onnx, unit_of
from rankwright.export.onnx_smooth import smooth_graph

__all__ = ["Int8Options", "int8_units", "quantise_embeddings", "quantise_onnx"]

METHODS = ("dynamic", "static")


@dataclass(frozen=True)
class Int8Options:
    """How a graph is quantised.

    Attributes:
        method: ``"dynamic"`` or ``"static"``.
        full_range: Whether weights use all 8 bits; None decides by this processor.
        calibration: Batches for ``"static"``; at least one.
        factors: What inputs of products are evened out by; from
            `rankwright.export.onnx_smooth.smoothing_factors`.
    """

    method: str = "dynamic"
    full_range: bool | None = None
    calibration: Sequence[Features] = ()
    factors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"quantisation {self.method!r} is not known; choose one of {METHODS}.")
        if self.method == "static" and not self.calibration:
            raise InputError("Static quantisation needs calibration pairs; none were given.")

    @property
    def uses_full_range(self) -> bool:
        """Whether weights use all 8 bits here."""
        return exact_int8() if self.full_range is None else self.full_range


def int8_units(model: Any) -> tuple[str, ...]:
    """The parts of a graph whose products can be quantised, in the order they run."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [
        unit_of(node.name) or EMBEDDINGS
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and set(node.input[1:2]) <= constants
    ]
    return tuple(dict.fromkeys(unit for unit in found if unit != HEAD))


def quantise_onnx(source: Path, target: Path, keep: frozenset[str], options: Int8Options) -> None:
    """Writes the 8-bit form of a float32 graph.

    Args:
        source: The graph, as `rankwright.export.to_onnx.save_onnx` wrote it.
        target: Where the result goes.
        keep: Units that stay in float32, besides the head.
        options: How.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    onnx = onnx_package("Quantising a model")
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "onnxruntime", "onnx", "Quantising a model"
        ) from error
    even = source.with_name("even.onnx")
    if options.factors:
        smooth_graph(source, even, options.factors, keep)
        source = even
    model = onnx.load_model(str(source))
    names = [
        node.name
        for node in model.graph.node
        if (unit_of(node.name) or EMBEDDINGS) in keep | {HEAD}
    ]
    # The quantiser turns each Gemm into a MatMul of another name before it looks at these.
    excluded = [*names, *(f"{name}_MatMul" for name in names)]
    large = source.with_name(f"{source.name}_data").exists()
    shared: dict[str, Any] = {
        "op_types_to_quantize": ["MatMul", "Gemm"],
        "per_channel": True,
        "reduce_range": not options.uses_full_range,
        "weight_type": QuantType.QInt8,
        "nodes_to_exclude": excluded,
        "use_external_data_format": large,
        # Types are not inferred behind operations that are ONNX Runtime's own.
        "extra_options": {
            "MatMulConstBOnly": True,
            "DefaultTensorType": onnx.TensorProto.FLOAT,
        },
    }
    with _quiet():
        if options.method == "dynamic":
            quantize_dynamic(source, target, **shared)
        else:
            quantize_static(
                source, target, _reader(options.calibration), activation_type=QuantType.QUInt8,
                **shared,
            )  # fmt: skip
    for file in (even, even.with_name(f"{even.name}_data")):
        file.unlink(missing_ok=True)
    if EMBEDDINGS not in keep:
        quantised = onnx.load_model(str(target))
        quantise_embeddings(quantised)
        for file in (target, target.with_name(f"{target.name}_data")):
            file.unlink(missing_ok=True)
        save_onnx(quantised, target)


def quantise_embeddings(model: Any) -> int:
    """Tables of embeddings to 8 bits with one scale per row, in place; how many there were.

    A row is looked up and multiplied by its scale. Rows differ in size, so one scale each keeps
    them far more exact than one for the table. Small tables (positions, segments) stay.
    """
    onnx = onnx_package("Quantising a model")
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    done = 0
    for node in list(model.graph.node):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        users = [n for n in model.graph.node if table is not None and table.name in n.input]
        if table is None or len(users) != 1 or len(table.dims) != 2:
            continue
        weights = onnx.numpy_helper.to_array(table)
        if weights.dtype != np.float32 or weights.size < 100 * weights.shape[1]:
            continue
        scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-12) / 127.0
        small = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        name, ids, found = table.name, node.input[1], node.output[0]
        model.graph.initializer.remove(table)
        model.graph.initializer.append(onnx.numpy_helper.from_array(small, f"{name}_int8"))
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale")
        )
        make = onnx.helper.make_node
        new = [
            make("Gather", [f"{name}_int8", ids], [f"{found}_int8"], f"{node.name}_int8"),
            make("Cast", [f"{found}_int8"], [f"{found}_cast"], f"{node.name}_cast", to=1),
            make("Gather", [f"{name}_scale", ids], [f"{found}_scale"], f"{node.name}_scale"),
            make("Mul", [f"{found}_cast", f"{found}_scale"], [found], f"{node.name}_scaled"),
        ]
        at = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        for offset, each in enumerate(new):
            model.graph.node.insert(at + offset, each)
        done += 1
    return done


def _reader(batches: Sequence[Features]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows: Iterator[Features] = iter(batches)

        def get_next(self) -> Features | None:
            return next(self._rows, None)

    return Reader()


class _quiet:
    """Without the quantiser's advice to preprocess, which does not apply to these graphs."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)
