from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from rankwright.errors import InputError
from rankwright.export.onnx_graph import save_onnx, unit_of
from rankwright.export.onnx_int8 import (
    Int8Options,
    int8_units,
    quantise_embeddings,
    quantise_onnx,
)
from tests.exported import FEATURES


@pytest.fixture(scope="module")
def source(exported: Path) -> Path:
    return exported / "onnx" / "model.onnx"


def run(path: Path) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path)).run(None, FEATURES)[0]


def in_int8(path: Path) -> set[str]:
    """Parts with a product of whole numbers."""
    nodes = onnx.load_model(str(path)).graph.node
    kinds = ("MatMulInteger", "QuantizeLinear", "DequantizeLinear")
    return {str(unit_of(node.name)) for node in nodes if node.op_type in kinds}


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("layers.3.attention.qkv/MatMul_0", "layers.3"),
        ("layers.11/Softmax_2", "layers.11"),
        ("model.deberta.encoder.layer.0.attention.self.query_proj/MatMul_0", "layers.0"),
        ("transformer.h.7.mlp/MatMul_0", "layers.7"),
        ("embeddings.word_embeddings/Gather_0", "embeddings"),
        ("model.classifier/Gemm_0", "head"),
        ("model.bert.pooler.dense/Gemm_0", "head"),
        ("project/MatMul_0", None),
        ("Softmax_3", None),
    ],
)
def test_operations_belong_to_parts(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


def test_the_graph_names_its_layers_and_nobodys_files(source: Path) -> None:
    model = onnx.load_model(str(source))
    assert int8_units(model) == ("layers.0", "layers.1")
    assert b".py" not in model.SerializeToString()
    assert {i.name for i in model.graph.input} == set(FEATURES)
    for tensor in model.graph.input:
        dims = [d.dim_param for d in tensor.type.tensor_type.shape.dim]
        assert all(dims), "batch and length are free"
    assert [o.name for o in model.graph.output] == ["logits"]
    assert [opset.version for opset in model.opset_import if not opset.domain] == [20]


def test_dynamic(source: Path, tmp_path: Path) -> None:
    reference = run(source)
    whole, part = tmp_path / "whole.onnx", tmp_path / "part.onnx"
    quantise_onnx(source, whole, frozenset(), Int8Options())
    quantise_onnx(source, part, frozenset({"layers.0"}), Int8Options())
    assert 0 < np.abs(run(whole) - reference).max() < 0.5
    assert {"layers.0", "layers.1"} <= in_int8(whole)
    assert "layers.0" not in in_int8(part)
    assert "layers.1" in in_int8(part)
    assert "head" not in in_int8(whole)
    assert whole.stat().st_size < part.stat().st_size < source.stat().st_size


def test_everything_kept_is_the_float_graph(source: Path, tmp_path: Path) -> None:
    kept = frozenset({"layers.0", "layers.1", "embeddings"})
    quantise_onnx(source, tmp_path / "k.onnx", kept, Int8Options())
    np.testing.assert_allclose(run(tmp_path / "k.onnx"), run(source), atol=2e-6)


def test_static(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "static.onnx"
    options = Int8Options("static", calibration=[FEATURES])
    quantise_onnx(source, target, frozenset({"layers.1"}), options)
    assert 0 < np.abs(run(target) - run(source)).max() < 0.5
    assert not any("layers.1" in unit for unit in in_int8(target))


@pytest.mark.parametrize(("full", "largest"), [(False, 64), (True, 127)])
def test_the_range_of_weights(source: Path, tmp_path: Path, full: bool, largest: int) -> None:
    target = tmp_path / "m.onnx"
    quantise_onnx(source, target, frozenset({"embeddings"}), Int8Options(full_range=full))
    found = [
        np.abs(onnx.numpy_helper.to_array(t).astype(int)).max()
        for t in onnx.load_model(str(target)).graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and t.dims and len(t.dims) == 2
    ]
    assert len(found) >= 6
    assert max(found) in (largest, largest - 1)


def test_embeddings_by_row(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    table = (generator.normal(size=(150, 8)) * generator.exponential(size=(150, 1))).astype("f4")
    table[3] = 0
    small = generator.normal(size=(5, 8)).astype("f4")
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            make("Gather", ["table", "ids"], ["a"], "embeddings/Gather_0"),
            make("Gather", ["small", "types"], ["b"], "embeddings/Gather_1"),
            make("Add", ["a", "b"], ["out"]),
        ],
        "g",
        [info(n, onnx.TensorProto.INT64, ["n"]) for n in ("ids", "types")],
        [info("out", onnx.TensorProto.FLOAT, ["n", 8])],
        [
            onnx.numpy_helper.from_array(table, "table"),
            onnx.numpy_helper.from_array(small, "small"),
        ],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    assert quantise_embeddings(model) == 1
    onnx.checker.check_model(model)
    save_onnx(model, tmp_path / "m.onnx")
    ids, types = np.arange(150), np.arange(150) % 5
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    found = session.run(None, {"ids": ids, "types": types})[0]
    scale = np.abs(table).max(axis=1, keepdims=True) / 127
    error = np.abs(found - small[types] - table)
    assert (error <= scale / 2 + 1e-6).all()
    assert (error[3] < 1e-6).all()


def test_weights_beyond_a_files_limit_lie_beside_it(source: Path, tmp_path: Path) -> None:
    save_onnx(onnx.load_model(str(source)), tmp_path / "big.onnx", largest=1000)
    assert (tmp_path / "big.onnx_data").stat().st_size > 50_000
    np.testing.assert_array_equal(run(tmp_path / "big.onnx"), run(source))
    quantise_onnx(tmp_path / "big.onnx", tmp_path / "small.onnx", frozenset(), Int8Options())
    assert not (tmp_path / "small.onnx_data").exists()
    quantise_onnx(source, tmp_path / "same.onnx", frozenset(), Int8Options())
    np.testing.assert_allclose(run(tmp_path / "small.onnx"), run(tmp_path / "same.onnx"), atol=1e-6)


def test_mistakes() -> None:
    with pytest.raises(InputError, match="'fast' is not known"):
        Int8Options("fast")
    with pytest.raises(InputError, match="needs calibration pairs"):
        Int8Options("static")
