"""PyTorch models in the compiled library: when, with which weights, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankwright import CrossEncoder
from rankwright.engine import compiled
from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling, wanted_bits
from rankwright.engine.pack import pack
from rankwright.engine.precision import precision_context, precision_name
from rankwright.engine.scorers import build_scorer
from rankwright.errors import InputError
from rankwright.mining import EmbeddingModel
from tests.engine.test_kept_weights import exchanged, in_place, load, step, unseen
from tests.engine.test_packed_equals_padded import padded_logits, random_pairs
from tests.tiny import save_tiny, tiny_model

pytestmark = pytest.mark.skipif(
    library.unavailable() is not None, reason=f"the compiled library: {library.unavailable()}"
)
PAIRS = [("how do i sort", "sort a list of files " * n) for n in range(1, 9)] + [("a", "b")]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bits of every forward pass in the library."""
    made: list[int] = []
    real = compiled.NativeEncoder.__call__

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        made.append(self.bits)
        return real(self, *args, **options)

    monkeypatch.setattr(compiled.NativeEncoder, "__call__", counted)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("compiled") / "m")


@pytest.mark.parametrize("change", [step, load, in_place, unseen, exchanged])
def test_changed_weights_are_noticed(change: Callable, runs: list[int]) -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    pairs = random_pairs("bert", [9, 12])
    with compiling(32), torch.no_grad():
        before = scorer(pack(pairs), training=False)
    change(model, scorer, pack(pairs))
    with compiling(32), torch.no_grad():
        after = scorer(pack(pairs), training=False)
        torch.testing.assert_close(after, padded_logits(model, pairs), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before, after, atol=1e-4)
    assert runs == [32, 32]


def test_only_without_gradients_and_dropout(runs: list[int]) -> None:
    model, _ = tiny_model("bert")
    scorer = build_scorer(model)
    batch = pack(random_pairs("bert", [9, 12]))
    with compiling(32):
        assert scorer(batch, training=False).requires_grad
        with torch.no_grad():
            scorer(batch, training=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scorer(batch, training=False)
    with compiling(0), torch.no_grad():
        scorer(batch, training=False)
    assert runs == []


def test_a_hook_is_called(runs: list[int]) -> None:
    model, _ = tiny_model("bert")
    called: list[int] = []
    model.bert.encoder.layer[0].intermediate.dense.register_forward_hook(
        lambda *_: called.append(1)
    )
    with compiling(32), torch.no_grad():
        build_scorer(model)(pack(random_pairs("bert", [9])), training=False)
    assert (runs, called) == ([], [1])


def test_precisions(folder: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    model = CrossEncoder(folder, device="cpu")
    with compiling(0):
        plain = model.predict(PAIRS)
    assert runs == []
    integers = model.predict(PAIRS, precision="int16")
    assert set(runs) == {16}
    assert 0 < np.abs(integers - plain).max() < 1e-3
    runs.clear()
    monkeypatch.setattr(library, "suggested", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert np.abs(model.predict(PAIRS) - plain).max() < 1e-5
    assert np.array_equal(model.predict(PAIRS, precision="auto"), integers)
    assert runs == [32, 16]
    monkeypatch.setattr(library, "suggested", lambda: False)
    model.predict(PAIRS)
    model.predict(PAIRS, precision="auto")
    assert runs == [32, 16]


def test_what_auto_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(library, "suggested", lambda: True)
    assert precision_name("auto") == "int16"
    with precision_context("auto", "cpu"):
        assert wanted_bits() == 16
    assert wanted_bits() == 32
    assert precision_name("float32") == "float32"
    monkeypatch.setattr(library, "suggested", lambda: False)
    assert precision_name("auto") == "float32"
    assert wanted_bits() == 0
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert precision_name("auto") == "bfloat16"


def test_int16_is_refused_where_it_cannot_be(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CrossEncoder(save_tiny(tmp_path / "m", "modernbert"), device="cpu")
    with pytest.raises(
        InputError, match="int16.*BERT and its relatives only.*'float32', or 'auto'"
    ):
        other.predict(PAIRS, precision="int16")
    with compiling(16):  # as "auto" asks: a wish, no demand
        other.predict(PAIRS)
    monkeypatch.setattr(library, "unavailable", lambda: "it was not built")
    with pytest.raises(InputError, match="int16.*library cannot be used: it was not built"):
        CrossEncoder(folder, device="cpu").predict(PAIRS, precision="int16")


def test_embeddings(folder: Path, runs: list[int]) -> None:
    texts = ["sort a list of files", "open", "read the error " * 10]
    model = EmbeddingModel(folder, device="cpu")
    with compiling(0):
        plain = model.encode(texts)
    with compiling(32):
        np.testing.assert_allclose(model.encode(texts), plain, atol=1e-5)
    integers = EmbeddingModel(folder, device="cpu", precision="int16").encode(texts)
    np.testing.assert_allclose(integers, plain, atol=2e-3)
    assert set(runs) == {32, 16}


def test_one_form_of_the_weights_is_kept(folder: Path) -> None:
    model = CrossEncoder(folder, device="cpu")
    with compiling(32):
        before = model.predict(PAIRS)
    layer = model.model.bert.encoder.layer[0].output
    layer.dense = torch.nn.Linear(layer.dense.in_features, layer.dense.out_features)
    with compiling(32):
        assert np.abs(model.predict(PAIRS) - before).max() > 1e-4
    model.predict(PAIRS, precision="int16")
    kept = model._scorer[1].encoder.cache._kept  # type: ignore[index,union-attr]
    assert [name[0] for name in kept] == ["compiled"]
