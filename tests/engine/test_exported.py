from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rankwright.engine import cpu
from rankwright.engine.exported import (
    TOKEN_BUDGET,
    ExportedOptions,
    padded_features,
    score_exported,
)
from rankwright.engine.onnx_runtime import OnnxBackend
from rankwright.engine.openvino_runtime import OpenVinoBackend
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.engine.tokenizer_file import FileTokenizer
from rankwright.errors import InputError, ModelError
from tests.tiny import tiny_tokenizer


class Sums:
    """A stand-in: the logits are the sum of the real ids, and their number."""

    name = "sums"
    inputs = frozenset({"input_ids", "attention_mask"})
    computes = "float32"
    token_budget = TOKEN_BUDGET

    def __init__(self, concurrency: int = 1, width_step: int = 1) -> None:
        self.concurrency = concurrency
        self.width_step = width_step
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def __call__(self, features: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        with self._lock:
            self.shapes.append(features["input_ids"].shape)
            self.threads.add(threading.get_ident())
        ids, mask = features["input_ids"], features["attention_mask"]
        assert set(features) == self.inputs
        assert (ids[mask == 0] == 7).all()
        return np.stack([(ids * mask).sum(1), mask.sum(1)], axis=1).astype(np.float32)


def tokens(lengths: list[int]) -> TokenizedPairs:
    generator = np.random.default_rng(len(lengths))
    return TokenizedPairs([generator.integers(8, 99, n) for n in lengths], None)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.integers(1, 4),
    st.sampled_from([1, 8]),
    st.integers(1, 100),
    st.one_of(st.none(), st.integers(1, 5)),
)
def test_order_padding_and_bounds(
    lengths: list[int], concurrency: int, step: int, budget: int, most: int | None
) -> None:
    pairs = tokens(lengths)
    backend = Sums(concurrency, step)
    options = ExportedOptions(max_pairs=most, token_budget=budget, pad_id=7)
    found = score_exported(backend, [pairs], len(pairs), options)
    expected = [[ids.sum(), len(ids)] for ids in pairs.input_ids]
    np.testing.assert_array_equal(found, expected)
    assert all(width % step == 0 for _, width in backend.shapes)
    assert all(rows <= (most or len(lengths)) for rows, _ in backend.shapes)
    # no batch is above the budget but those of one pair
    assert all(rows == 1 or rows * (width - step - 38) <= budget for rows, width in backend.shapes)


def test_every_core_gets_work() -> None:
    backend = Sums(concurrency=4)
    pairs = tokens([20] * 64)
    score_exported(backend, [pairs], 64, ExportedOptions(pad_id=7))
    assert sorted(rows for rows, _ in backend.shapes) == [16, 16, 16, 16]


def test_pieces_come_back_in_order() -> None:
    backend = Sums(concurrency=2)
    first, second = tokens([5, 9, 2]), tokens([4, 4])
    found = score_exported(backend, iter([first, second]), 5, ExportedOptions(pad_id=7))
    np.testing.assert_array_equal(found[:, 1], [5, 9, 2, 4, 4])


def test_segments_are_padded_with_zeros() -> None:
    pairs = TokenizedPairs(
        [np.asarray([2, 9, 3]), np.asarray([2, 3])], [np.asarray([0, 1, 1]), np.asarray([1, 1])]
    )
    names = frozenset({"input_ids", "attention_mask", "token_type_ids"})
    found = padded_features(names, pairs, np.asarray([1, 0]), pad_id=5, width_step=4)
    assert found["input_ids"].tolist() == [[2, 3, 5, 5], [2, 9, 3, 5]]
    assert found["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert found["token_type_ids"].tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("kind", [OnnxBackend, OpenVinoBackend])
def test_broken_files(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / f"model.{'onnx' if kind is OnnxBackend else 'xml'}"
    path.write_text("nonsense")
    with pytest.raises(ModelError, match=r"model\.\w+ cannot be loaded by .* export the model"):
        kind(path)


def test_a_graph_that_is_no_reranker(tmp_path: Path) -> None:
    import onnx

    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["n", 3])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 3])
    node = onnx.helper.make_node("Relu", ["pixels"], ["out"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [pixels], [out]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save_model(model, str(tmp_path / "model.onnx"))
    for kind in (OnnxBackend, OpenVinoBackend):
        with pytest.raises(ModelError, match=r"takes \['pixels'\]"):
            kind(tmp_path / "model.onnx")


def test_importing_engines_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    program = (
        "import os; from rankwright.engine.openvino_runtime import openvino_module; "
        "openvino_module('x').Core(); print(os.environ.get('CI'), os.listdir(os.environ['HOME']))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "NNCF_CI")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["None", "[]"], done.stderr


# --- the tokenizer's file -----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_file_gives_the_ids_that_transformers_gives(family: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(family)
    tokenizer.save_pretrained(tmp_path)
    found = FileTokenizer.read(tmp_path / "tokenizer.json", family == "bert")
    assert set(found.model_input_names) == set(tokenizer.model_input_names)
    pairs = [("how do i", "sort a list " * 9), ("", "b"), ("Wörld", "open close")]
    for longest in (12, 40):
        ours = PairTokenizer(found).encode(pairs, longest)
        theirs = PairTokenizer(tokenizer).encode(pairs, longest)
        assert [x.tolist() for x in ours.input_ids] == [x.tolist() for x in theirs.input_ids]
        assert (ours.token_type_ids is None) == (family != "bert")
        # and where no template can be read off the tokenizer
        direct = found([q for q, _ in pairs], [d for _, d in pairs], True, longest)
        assert direct["input_ids"] == [x.tolist() for x in theirs.input_ids]


def test_a_missing_or_broken_tokenizer_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        FileTokenizer.read(tmp_path / "tokenizer.json", True)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be parsed"):
        FileTokenizer.read(tmp_path / "tokenizer.json", True)


def test_too_short_a_length_is_refused() -> None:
    tokenizer = PairTokenizer(FileTokenizer(tiny_tokenizer().backend_tokenizer, True))
    with pytest.raises(InputError, match="max_length=3"):
        tokenizer.encode([("a", "b")], 3)


# --- the processor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", "fpu avx2", False),
        ("x86_64", "fpu avx2 avx_vnni", True),
        ("AMD64", "avx512f avx512_vnni", True),
        ("x86_64", None, False),
        ("aarch64", None, True),
    ],
)
def test_exact_int8(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str | None, exact: bool
) -> None:
    text = "" if flags is None else f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: none\n"
    monkeypatch.setattr(cpu, "_cpuinfo", lambda: text)
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
    cpu.exact_int8.cache_clear()
    try:
        assert cpu.exact_int8() is exact
    finally:
        cpu.exact_int8.cache_clear()


def test_the_machines_name_is_stable() -> None:
    assert cpu.machine_name() == cpu.machine_name()
    assert f"{cpu.available_cores()} cores" in cpu.machine_name()
