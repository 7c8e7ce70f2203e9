"""Fused attention scores as the graph it was made from, whatever is padded and whoever shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.export.graph import build_graph
from rankwright.export.onnx_fuse import fuse_attention
from rankwright.export.to_onnx import to_onnx
from tests.tiny import tiny_model

LAYERS = 2


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def graph_of(family: str) -> Any:
    layers = "n_layers" if family == "distilbert" else "num_hidden_layers"
    model, tokenizer = tiny_model(family, **{layers: LAYERS})
    with_types = "token_type_ids" in tokenizer.model_input_names
    return to_onnx(build_graph(model, with_types), with_types)


def copied(model: Any) -> Any:
    return onnx.load_model_from_string(model.SerializeToString())


@pytest.fixture(scope="module")
def plain() -> Any:
    return graph_of("bert")


@pytest.fixture(scope="module")
def sessions(plain: Any) -> tuple[Any, Any]:
    """The same graph as it was exported and fused."""
    fused = copied(plain)
    assert fuse_attention(fused) == LAYERS
    return session(plain), session(fused)


def features(rows: list[int], width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of these lengths in a batch of this width; a row is the same in any batch."""
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(rows):
        generator = np.random.default_rng(seed + length)
        ids[row, :length] = generator.integers(5, 60, length)
        mask[row, :length] = 1
    types = (np.arange(width) > 3).astype(np.int64) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def test_every_layer_is_fused_and_nothing_is_left_behind(plain: Any) -> None:
    fused = copied(plain)
    assert fuse_attention(fused) == LAYERS
    onnx.checker.check_model(fused)
    found = kinds(fused)
    assert found.count("MultiHeadAttention") == LAYERS
    assert "Softmax" not in found
    # The shapes into which heads were split, and the mask, are gone with what read them.
    read = {name for node in fused.graph.node for name in node.input}
    made = {name for node in fused.graph.node for name in node.output} - {"logits"}
    assert made <= read
    assert {tensor.name for tensor in fused.graph.initializer} <= read
    assert {i.name for i in fused.graph.input} == {i.name for i in plain.graph.input}
    # Parts are named by layer: int8 leaves some of them in float32.
    attention = [n.name for n in fused.graph.node if n.op_type == "MultiHeadAttention"]
    assert [name.partition("/")[0] for name in attention] == ["layers.0", "layers.1"]
    assert fuse_attention(fused) == 0


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 24), min_size=1, max_size=6),
    st.integers(0, 9),
    st.integers(0, 10_000),
)
def test_scores_are_those_of_the_plain_graph(
    sessions: tuple[Any, Any], rows: list[int], more: int, seed: int
) -> None:
    inputs = features(rows, max(rows) + more, seed)
    plain, fused = (s.run(None, inputs)[0] for s in sessions)
    np.testing.assert_allclose(fused, plain, atol=3e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 24), min_size=1, max_size=6), st.integers(0, 40))
def test_neither_padding_nor_the_company_changes_a_score(
    sessions: tuple[Any, Any], rows: list[int], more: int
) -> None:
    together = sessions[1].run(None, features(rows, max(rows) + more))[0]
    alone = [sessions[1].run(None, features([row], max(row, 2)))[0][0] for row in rows]
    np.testing.assert_allclose(together, alone, atol=3e-6)


def test_a_mask_with_holes_is_obeyed(sessions: tuple[Any, Any]) -> None:
    inputs = features([20, 20, 20], 20)
    inputs["attention_mask"][0, 5:9] = 0
    inputs["attention_mask"][1, 1::2] = 0
    plain, fused = (s.run(None, inputs)[0] for s in sessions)
    np.testing.assert_allclose(fused, plain, atol=3e-6)
    assert np.abs(plain - plain[2]).max() > 1e-4  # the holes matter


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_relatives_are_fused_too(family: str) -> None:
    model = graph_of(family)
    inputs = features([7, 19, 3], 19)
    inputs = {tensor.name: inputs[tensor.name] for tensor in model.graph.input}
    plain = session(model).run(None, inputs)[0]
    assert fuse_attention(model) == LAYERS
    np.testing.assert_allclose(session(model).run(None, inputs)[0], plain, atol=3e-6)


def test_attention_that_is_more_than_that_stays() -> None:
    model = graph_of("modernbert")  # rotated queries, local windows
    before = model.SerializeToString()
    assert fuse_attention(model) == 0
    assert model.SerializeToString() == before


def test_another_mask_is_not_taken_for_padding(plain: Any) -> None:
    changed = copied(plain)
    node = next(n for n in changed.graph.node if n.op_type == "Mul")
    node.op_type = "Add"  # no longer 0 where there is text
    assert fuse_attention(changed) == 0


def test_an_onnx_export_has_fused_attention(exported: Path) -> None:
    for file in sorted((exported / "onnx").glob("*.onnx")):
        assert kinds(onnx.load_model(str(file))).count("MultiHeadAttention") == LAYERS
