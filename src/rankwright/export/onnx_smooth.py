"""Inputs of products evened out, so that 8 bits hold them better.

In 8 bits, all channels of a product's input share one step. Encoders have a few channels with
values far above the others, for which that step becomes so large that little is left of the rest.
Dividing each channel by a factor and multiplying its row of weights by the same leaves the product
as it is and moves the unevenness into the weights, which have a step per output.

The factors are those of SmoothQuant (Xiao et al. 2023, arXiv 2211.10438): per channel
``max|x|^a / max|w|^(1-a)``. How much is moved is chosen for each product by its error on a sample,
as AWQ does (Lin et al. 2024, arXiv 2306.00978); not moving anything is one of the choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.exported import Features
from rankwright.export.onnx_graph import HEAD, onnx_package, save_onnx, unit_of

__all__ = ["STRENGTHS", "best_factors", "smooth_graph", "smoothing_factors"]

Floats = NDArray[np.float32]

STRENGTHS = (0.3, 0.5, 0.7, 0.85)
"""Which part of the unevenness is moved; none at all is tried as well."""

_ROWS = 1024  # tokens that errors are measured on
_TINY = 1e-6


def smoothing_factors(
    source: Path, batches: Sequence[Features], full_range: bool
) -> dict[str, Floats]:
    """By name of a product's input, what its channels are divided by; not all inputs are named.

    Args:
        source: A float32 graph, as `rankwright.export.onnx_graph.save_onnx` wrote it.
        batches: Padded batches of calibration pairs, at least one.
        full_range: Whether weights will use all 8 bits.
    """
    onnx = onnx_package("Quantising a model")
    model = onnx.load_model(str(source))
    weights = _weights(model)
    found = {}
    for name, rows, largest in _inputs(source, model, sorted(weights), batches):
        matrices = [onnx.numpy_helper.to_array(tensor) for tensor in weights[name]]
        factors = best_factors(rows, np.concatenate(matrices, axis=1), largest, full_range)
        if factors is not None:
            found[name] = factors
    return found


def smooth_graph(
    source: Path, target: Path, factors: Mapping[str, Floats], keep: frozenset[str] = frozenset()
) -> None:
    """Writes a graph that computes the same with evened inputs of its products.

    Args:
        source: The graph that the factors were found for.
        target: Another file.
        factors: From `smoothing_factors`.
        keep: Units whose products stay as they are.
    """
    onnx = onnx_package("Quantising a model")
    model = onnx.load_model(str(source))
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        factor = factors.get(node.input[0]) if _is_product(node, tensors) else None
        if factor is None or unit_of(node.name) in keep:
            continue
        weights = onnx.numpy_helper.to_array(tensors[node.input[1]]) * factor[:, None]
        even, moved = f"{node.output[0]}_even", f"{node.output[0]}_weights"
        graph.initializer.append(onnx.numpy_helper.from_array(weights, moved))
        graph.initializer.append(onnx.numpy_helper.from_array(1 / factor, f"{even}_factors"))
        scope = node.name.rpartition("/")[0]
        divide = onnx.helper.make_node(
            "Mul", [node.input[0], f"{even}_factors"], [even], f"{scope}/Even_0"
        )
        graph.node.insert(list(graph.node).index(node), divide)
        node.input[0], node.input[1] = even, moved
    read = {name for node in graph.node for name in node.input}
    for name, tensor in tensors.items():
        if name not in read:
            graph.initializer.remove(tensor)
    save_onnx(model, target)


def best_factors(rows: Floats, weights: Floats, largest: Floats, full_range: bool) -> Floats | None:
    """The factors that leave the least error in 8 bits; None where none helps.

    Args:
        rows: ``(R, C)`` inputs of a product.
        weights: ``(C, N)``.
        largest: ``(C,)`` greatest absolute value of each channel; over more inputs than ``rows``.
        full_range: Whether weights use all 8 bits.
    """
    exact = rows @ weights
    in_weights = np.maximum(np.abs(weights).max(axis=1), _TINY)
    in_rows = np.maximum(largest, _TINY)
    best, least = None, _error(rows, weights, exact, full_range)
    for strength in STRENGTHS:
        factors = in_rows**strength / in_weights ** (1 - strength)
        # One factor for all channels changes nothing: the middle is 1, so that numbers stay tame.
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        error = _error(rows / factors, weights * factors[:, None], exact, full_range)
        if error < least:
            best, least = factors, error
    return best


def _error(rows: Floats, weights: Floats, exact: Floats, full_range: bool) -> float:
    """Mean squared error of the product in 8 bits."""
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    step = max(high - low, _TINY) / 255
    steps = np.maximum(np.abs(weights).max(axis=0), _TINY) / (127 if full_range else 64)
    product = (np.rint(rows / step) * step) @ (np.rint(weights / steps) * steps)
    return float(np.mean((product - exact) ** 2))


# --- what products read -----------------------------------------------------------------------


def _is_product(node: Any, constants: Mapping[str, Any]) -> bool:
    weights = constants.get(node.input[1]) if node.op_type == "MatMul" else None
    return weights is not None and len(weights.dims) == 2 and unit_of(node.name) != HEAD


def _weights(model: Any) -> dict[str, list[Any]]:
    """The constants that each input is multiplied with."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        if _is_product(node, tensors):
            found.setdefault(node.input[0], []).append(tensors[node.input[1]])
    return found


def _inputs(
    source: Path, model: Any, names: Sequence[str], batches: Sequence[Features]
) -> list[tuple[str, Floats, Floats]]:
    """Each tensor's name, a sample of its rows, and each channel's greatest absolute value."""
    import onnxruntime

    onnx = onnx_package("Quantising a model")
    have = {output.name for output in model.graph.output}
    for name in names:
        if name not in have:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    file = source.with_name("observed.onnx")
    save_onnx(model, file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    each = -(-_ROWS // len(batches))
    rows: dict[str, list[Floats]] = {name: [] for name in names}
    largest: dict[str, Floats] = {}
    for batch in batches:
        for name, found in zip(names, session.run(list(names), dict(batch)), strict=True):
            flat = found.reshape(-1, found.shape[-1])
            most = np.abs(flat).max(axis=0)
            largest[name] = np.maximum(largest[name], most) if name in largest else most
            chosen = generator.permutation(len(flat))[:each]
            rows[name].append(flat[chosen])
    for written in (file, file.with_name(f"{file.name}_data")):
        written.unlink(missing_ok=True)
    return [(name, np.concatenate(rows[name]), largest[name]) for name in names]
