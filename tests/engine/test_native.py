"""The compiled library against float64, and what must not change its results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertModel

from rankwright.engine.compiled import encoder_weights, reason_against
from rankwright.engine.encoders import packed_encoder
from rankwright.engine.families.post_norm import PostNormEncoder
from rankwright.engine.native import library
from rankwright.engine.native.encoder import NativeBatch, NativeEncoder, unsuitable
from rankwright.engine.native.weights import (
    LARGEST_INPUT,
    LinearWeights,
    panels,
    quantised,
)
from rankwright.errors import InputError

needs_library = pytest.mark.skipif(
    library.unavailable() is not None, reason=f"the compiled library: {library.unavailable()}"
)
VOCAB, PLACES = 300, 600


def bert(hidden: int = 32, inner: int = 48, heads: int = 4, **options: Any) -> BertModel:
    """A model whose weights are large enough for attention to prefer some tokens."""
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_hidden_layers=2,
        max_position_embeddings=PLACES,
        **options,
    )
    model = BertModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(3 / hidden**0.5 * torch.randn_like(parameter) / 2)
    return model


def batch(lengths: list[int], seed: int = 0) -> NativeBatch:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    return NativeBatch(
        ids=rng.integers(0, VOCAB, total),
        positions=np.concatenate([np.arange(n) for n in lengths]),
        types=rng.integers(0, 2, total),
        lengths=np.asarray(lengths),
    )


def expected(model: BertModel, pairs: NativeBatch, dtype: torch.dtype = torch.float64) -> list[Any]:
    """What transformers computes in this format, pair by pair."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = model.to(dtype)
    found, begin = [], 0
    with torch.no_grad():
        for n in pairs.lengths.tolist():
            here = slice(begin, begin + n)
            ids, types = torch.tensor(pairs.ids[here]), torch.tensor(pairs.types[here])
            states = other(ids[None], token_type_ids=types[None]).last_hidden_state[0]
            found.append(states.double().numpy())
            begin += n
    model.float().load_state_dict(before)
    return found


def rms(found: Any, wanted: list[Any]) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(((np.concatenate(list(found)) - np.concatenate(wanted)) ** 2).mean()))


def compiled(model: BertModel, bits: int) -> NativeEncoder:
    encoder = packed_encoder(model)
    assert isinstance(encoder, PostNormEncoder)
    assert reason_against(encoder) is None
    return NativeEncoder(encoder_weights(encoder, bits))


LENGTHS = [5, 1, 17, 33, 130, 6, 7, 2, 48, 49]


@needs_library
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize(
    ("hidden", "inner", "heads"), [(32, 48, 4), (96, 400, 3), (64, 16, 1), (208, 32, 26)]
)
def test_float32_equals_float64_but_for_rounding(
    hidden: int, inner: int, heads: int, activation: str
) -> None:
    model = bert(hidden, inner, heads, hidden_act=activation)
    pairs = batch(LENGTHS)
    wanted = expected(model, pairs)
    encode = compiled(model, 32)
    states = encode(pairs, first_only=False, threads=2)
    np.testing.assert_allclose(states, np.concatenate(wanted), atol=2e-5)
    first = encode(pairs, first_only=True, threads=2)
    np.testing.assert_allclose(first, [row[0] for row in wanted], atol=2e-5)


@needs_library
def test_wide_products_are_summed_in_parts() -> None:
    """Inputs beyond `Kind::DEPTH`, in both number formats."""
    model = bert(400, 1600, 5)
    pairs = batch([9, 60])
    wanted = expected(model, pairs)
    found = compiled(model, 32)(pairs, first_only=False, threads=1)
    np.testing.assert_allclose(found, np.concatenate(wanted), atol=5e-5)
    integers = compiled(model, 16)(pairs, first_only=False, threads=1)
    assert rms([integers], wanted) < 0.8 * rms(expected(model, pairs, torch.bfloat16), wanted)


@needs_library
def test_16_bits_are_closer_to_float64_than_bfloat16() -> None:
    model = bert(96, 384, 6)
    pairs = batch(LENGTHS)
    wanted = expected(model, pairs)
    found = compiled(model, 16)(pairs, first_only=False, threads=1)
    assert rms([found], wanted) < 0.5 * rms(expected(model, pairs, torch.bfloat16), wanted)


@needs_library
@pytest.mark.parametrize("bits", [32, 16])
def test_nothing_but_the_pair_itself_decides_its_states(bits: int) -> None:
    """Order, company, number of threads and whether others are wanted change no bit."""
    encode = compiled(bert(96, 384, 6), bits)
    pairs = batch(LENGTHS)
    whole = encode(pairs, first_only=False, threads=1)
    begins = np.concatenate(([0], np.cumsum(LENGTHS)))
    for threads in (2, 3, 50):
        assert np.array_equal(encode(pairs, first_only=False, threads=threads), whole)
    first = encode(pairs, first_only=True, threads=2)
    # Keys and values are not computed as such there; in integers that is a rounding less.
    np.testing.assert_allclose(first, whole[begins[:-1]], atol={32: 1e-5, 16: 5e-3}[bits])
    order = np.random.default_rng(1).permutation(len(LENGTHS))
    tokens = np.concatenate([np.arange(begins[i], begins[i + 1]) for i in order])
    shuffled = replace(
        pairs,
        ids=pairs.ids[tokens],
        positions=pairs.positions[tokens],
        types=None if pairs.types is None else pairs.types[tokens],
        lengths=pairs.lengths[order],
    )
    assert np.array_equal(encode(shuffled, first_only=False, threads=2), whole[tokens])
    assert np.array_equal(encode(shuffled, first_only=True, threads=1), first[order])
    for i, n in enumerate(LENGTHS):
        here = slice(begins[i], begins[i + 1])
        types = None if pairs.types is None else pairs.types[here]
        alone = NativeBatch(pairs.ids[here], pairs.positions[here], types, np.asarray([n]))
        assert np.array_equal(encode(alone, first_only=False, threads=1), whole[here])
        assert np.array_equal(encode(alone, first_only=True, threads=1), first[i : i + 1])


@needs_library
def test_no_pairs() -> None:
    none = np.zeros(0, np.int64)
    encode = compiled(bert(), 32)
    empty = NativeBatch(none, none, None, none)
    assert encode(empty, first_only=True, threads=2).shape == (0, 32)


@needs_library
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.asarray([1, VOCAB])}, f"token id {VOCAB} is not among the model's {VOCAB}"),
        ({"ids": np.asarray([-1, 0])}, "token id -1"),
        ({"positions": np.asarray([0, PLACES])}, f"position {PLACES}"),
        ({"types": np.asarray([0, 2])}, "segment 2"),
        ({"lengths": np.asarray([3])}, "add up to 3 tokens, but there are 2"),
        ({"lengths": np.asarray([2, 0])}, "no tokens"),
    ],
)
def test_memory_beyond_a_table_is_never_read(change: Any, message: str) -> None:
    encode = compiled(bert(), 32)
    two = NativeBatch(np.zeros(2, int), np.arange(2), np.zeros(2, int), np.asarray([2]))
    with pytest.raises(InputError, match=message):
        encode(replace(two, **change), first_only=True, threads=1)


def test_unsuitable_sizes() -> None:
    assert unsuitable(384, 1536, 12, "gelu") is None
    assert "activation is silu" in str(unsuitable(384, 1536, 12, "silu"))
    assert "not multiples of 16" in str(unsuitable(40, 1536, 5, "gelu"))
    assert "not multiples of 16" in str(unsuitable(32, 40, 4, "gelu"))
    assert "not a multiple of 8" in str(unsuitable(48, 48, 4, "gelu"))


@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.sampled_from([16, 384, 3072, 16_000]),
    power=st.floats(-20, 20),
    tail=st.floats(0.05, 4),
)
def test_no_sum_of_16_bit_products_can_overflow(
    seed: int, inputs: int, power: float, tail: float
) -> None:
    rng = np.random.default_rng(seed)
    weight = np.sign(rng.normal(size=(3, inputs))) * rng.random((3, inputs)) ** tail
    weight[1] = rng.choice([-1.0, 1.0])  # all alike: the largest sum that there can be
    weight[2] = 0
    weight = (weight * 2.0**power).astype(np.float32)
    layer = quantised(LinearWeights(weight, None))
    assert layer.weight.dtype == np.int16
    assert layer.scales is not None
    worst = LARGEST_INPUT * np.abs(layer.weight.astype(np.int64)).sum(1)
    assert worst.max() <= 2**31 - 1
    off = np.abs(layer.weight * layer.scales[:, None].astype(np.float64) - weight)
    # Quotients of up to 32767 are rounded to float32 before they are rounded to integers.
    assert (off <= 0.503 * layer.scales[:, None]).all()
    assert not layer.weight[2].any()


@needs_library
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sums_come_out_right(sign: float) -> None:
    """All inputs of the second feed-forward product alike, and all its weights: the worst case."""
    model = bert(32, 3072, 2, hidden_act="relu")
    layer = model.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.weight.zero_()
        layer.intermediate.dense.bias.fill_(5.0)
        layer.output.dense.weight.fill_(sign * 0.37)
        layer.output.dense.weight[::2] *= -1
    pairs = batch([4, 9])
    wanted = np.concatenate(expected(model, pairs))
    found = compiled(model, 16)(pairs, first_only=False, threads=1)
    assert np.abs(found - wanted).max() < 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_panels_hold_every_weight_once(dtype: Any) -> None:
    weight = np.arange(32 * 6).reshape(32, 6).astype(dtype)
    laid_out = panels(weight)
    assert laid_out.ctypes.data % 64 == 0
    unit = 2 if dtype == np.int16 else 1
    shaped = laid_out.reshape(2, 6 // unit, 16, unit)
    for output in (0, 15, 16, 31):
        row = shaped[output // 16, :, output % 16].reshape(-1)
        assert row.tolist() == weight[output].tolist()


def test_reasons_against_a_model() -> None:
    def reason(model: Any) -> str:
        return str(reason_against(packed_encoder(model)))

    assert reason(bert()) == "None"
    assert "BERT and its relatives" in str(reason_against(None))
    model = bert()
    model.encoder.layer[1].output.dense.register_forward_hook(lambda *_: None)
    assert "adapters or hooks" in reason(model)
    model = bert()
    model.embeddings.word_embeddings = nn.Embedding(VOCAB, 32, max_norm=1.0)
    assert "adapters or hooks" in reason(model)
    assert "not float32" in reason(bert().bfloat16())
    assert "activation is SiLU" in reason(bert(hidden_act="silu"))
    model = bert()
    model.encoder.layer[1].intermediate.intermediate_act_fn = nn.ReLU()
    assert "several activations" in reason(model)
    assert "multiples of 16" in reason(bert(40, 48, 5))


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    library._load.cache_clear()
    monkeypatch.setattr(library, "_NEEDED", frozenset(("no such feature",)))
    try:
        assert "AVX2" in str(library.unavailable())
        library._load.cache_clear()
        monkeypatch.setattr(library, "_NEEDED", frozenset())
        monkeypatch.setattr(library, "FILE", tmp_path / "none.so")
        assert "no C++ compiler" in str(library.unavailable())
        assert not library.suggested()
        with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
            library.library()
        library._load.cache_clear()
        (tmp_path / "none.so").write_bytes(b"nothing")
        assert "cannot be loaded" in str(library.unavailable())
    finally:
        monkeypatch.undo()
        library._load.cache_clear()


PLACES_OF_NAN = (
    "embeddings.word_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "encoder.layer.0.attention.self.query.weight",
    "encoder.layer.0.attention.self.key.bias",
    "encoder.layer.1.attention.self.value.weight",
    "encoder.layer.1.attention.output.dense.bias",
    "encoder.layer.0.intermediate.dense.weight",
    "encoder.layer.1.intermediate.dense.bias",
    "encoder.layer.1.output.dense.weight",
    "encoder.layer.1.output.LayerNorm.bias",
)


@needs_library
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", PLACES_OF_NAN)
def test_what_is_no_number_stays_so(name: str, value: float, activation: str) -> None:
    """A single bad weight must not become a score that looks like any other."""
    model = bert(hidden_act=activation)
    model.get_parameter(name).data.view(-1)[3] = value
    pairs = batch([5, 12])
    if "word_embeddings" in name:
        pairs.ids[:] = 0
    wanted = [bool(np.isfinite(row[0]).all()) for row in expected(model, pairs)]
    assert wanted == [False, False]
    for bits in (32, 16):
        found = compiled(model, bits)(pairs, first_only=True, threads=1)
        assert [bool(np.isfinite(row).all()) for row in found] == wanted, bits


@needs_library
def test_a_bias_that_makes_no_difference_must_be_a_number_too() -> None:
    model = bert()
    pairs = batch([5, 12])
    before = compiled(model, 32)(pairs, first_only=True, threads=1)
    bias = model.encoder.layer[1].attention.self.key.bias.data
    bias += 3
    after = compiled(model, 32)(pairs, first_only=True, threads=1)
    assert np.array_equal(after, before)
    bias[2] = torch.nan
    for bits in (32, 16):
        found = compiled(model, bits)(pairs, first_only=True, threads=1)
        assert not np.isfinite(found).all(1).any()
