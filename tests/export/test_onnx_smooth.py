"""Products of evened inputs are the same products, and lose less in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.export.onnx_graph import save_onnx, unit_of
from rankwright.export.onnx_int8 import Int8Options, quantise_onnx
from rankwright.export.onnx_smooth import (
    STRENGTHS,
    best_factors,
    smooth_graph,
    smoothing_factors,
)
from tests.exported import FEATURES

LAYERS = frozenset({"layers.0", "layers.1"})


@pytest.fixture(scope="module")
def uneven(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose layers give a few channels far larger than the others, as encoders have."""
    model = onnx.load_model(str(exported / "onnx" / "model.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("norm.weight"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[:2] *= 25
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path = tmp_path_factory.mktemp("uneven") / "model.onnx"
    save_onnx(model, path)
    return path


def run(path: Path, features: dict[str, np.ndarray] = FEATURES) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path)).run(None, features)[0]


def test_nothing_changes_before_quantising(uneven: Path, tmp_path: Path) -> None:
    factors = smoothing_factors(uneven, [FEATURES], full_range=True)
    assert len(factors) >= 4
    assert all((f > 0).all() and np.isfinite(f).all() for f in factors.values())
    smooth_graph(uneven, tmp_path / "smooth.onnx", factors)
    model = onnx.load_model(str(tmp_path / "smooth.onnx"))
    onnx.checker.check_model(model)
    np.testing.assert_allclose(run(tmp_path / "smooth.onnx"), run(uneven), rtol=1e-4, atol=2e-5)
    assert (tmp_path / "smooth.onnx").stat().st_size < 1.2 * uneven.stat().st_size
    assert [file.name for file in uneven.parent.iterdir()] == ["model.onnx"]


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A graph of one product."""
    weights = np.random.default_rng(1).normal(size=(32, 16)).astype("f4")
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["logits"], "layers.0.up/MatMul_0")],
        "g",
        [info("x", float32, ["n", 32])],
        [info("logits", float32, ["n", 16])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    (tmp_path / "one").mkdir()
    save_onnx(model, tmp_path / "one" / "model.onnx")
    return tmp_path / "one" / "model.onnx"


def test_less_is_lost(product: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 32)).astype("f4")
    rows[:, 3] *= 60
    seen, new = {"x": rows[:200]}, {"x": rows[200:]}
    exact = run(product, new)
    # Seven bits are exact on every processor.
    factors = smoothing_factors(product, [seen], full_range=False)
    errors = []
    for found in ({}, factors):
        options = Int8Options(full_range=False, factors=found)
        quantise_onnx(product, tmp_path / "int8.onnx", frozenset(), options)
        errors.append(float(np.abs(run(tmp_path / "int8.onnx", new) - exact).mean()))
    assert errors[1] < 0.4 * errors[0], errors
    assert [file.name for file in product.parent.iterdir()] == ["model.onnx"]


def test_kept_parts_stay_as_they_are(uneven: Path, tmp_path: Path) -> None:
    factors = smoothing_factors(uneven, [FEATURES], full_range=True)
    for kept in (frozenset[str](), frozenset({"layers.0"}), LAYERS):
        smooth_graph(uneven, tmp_path / "part.onnx", factors, kept)
        nodes = onnx.load_model(str(tmp_path / "part.onnx")).graph.node
        changed = {str(unit_of(node.name)) for node in nodes if "/Even_" in node.name}
        assert changed == LAYERS - kept


def lost(rows: np.ndarray, weights: np.ndarray, full: bool) -> float:
    """Mean squared error of a product of whole numbers, as ONNX's operators define it."""
    low, high = min(rows.min(), 0), max(rows.max(), 0)
    step = (high - low) / 255
    zero = round(-low / step)
    whole = np.clip(np.rint(rows / step) + zero, 0, 255).astype(np.int64) - zero
    steps = np.abs(weights).max(axis=0) / (127 if full else 64)
    product = (whole @ np.rint(weights / steps).astype(np.int64)) * step * steps
    return float(np.mean((product - rows @ weights) ** 2))


@given(st.integers(0, 2**32 - 1), st.floats(1, 100), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_best_of_all_strengths(seed: int, outlier: float, full: bool) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(60, 24)).astype("f4")
    rows[:, generator.integers(24)] *= outlier
    weights = generator.normal(size=(24, 10)).astype("f4")
    found = best_factors(rows, weights, np.abs(rows).max(axis=0), full)
    in_rows, in_weights = np.abs(rows).max(axis=0), np.abs(weights).max(axis=1)
    tried = [np.ones(24)] + [in_rows**a / in_weights ** (1 - a) for a in STRENGTHS]
    errors = [lost(rows / f, weights * f[:, None], full) for f in map(np.float64, tried)]
    chosen = np.ones(24) if found is None else np.float64(found)
    least = lost(rows / chosen, weights * chosen[:, None], full)
    # Rounding of halves may differ by one step here and there.
    assert least <= min(errors) * 1.02
    if outlier > 50:
        assert found is not None
        assert least < errors[0] / 2


def test_channels_that_are_always_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype("f4")
    rows[:, 2] = 0
    rows[:, 4] *= 40
    weights = np.random.default_rng(1).normal(size=(6, 5)).astype("f4")
    weights[1] = 0
    found = best_factors(rows, weights, np.abs(rows).max(axis=0), True)
    assert found is not None
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert np.isfinite(1 / found).all()
