"""Prepacked products: as exact as plain ones, in every family, where they are faster."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from rankwright.engine import cpu, prepacked
from rankwright.engine.ops import WeightCache, activated, linear
from rankwright.engine.pack import pack
from rankwright.engine.prepacked import (
    fused_activation,
    lay_out,
    prepacking,
    prepacks,
    product,
    suggested,
    unavailable,
)
from rankwright.engine.scorers import build_scorer
from tests.engine.test_packed_equals_padded import MODELS, SCORERS, padded_logits, random_pairs
from tests.tiny import FAMILIES, tiny_model

DTYPES = (torch.float32, torch.bfloat16)


pytestmark = pytest.mark.usefixtures("everywhere")


def need(dtype: torch.dtype) -> None:
    reason = unavailable(dtype)
    if reason is not None:
        pytest.skip(f"products in {dtype} cannot be prepacked here: {reason}")


# --- single products --------------------------------------------------------------------------


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# Class in transformers, formula, what a product in plain operations does.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "gelu": (gelu, F.gelu),
    "gelu_new": (gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
    "gelu_pytorch_tanh": (gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
    "relu": (lambda x: np.maximum(x, 0), F.relu),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["none", *ACTIVATIONS])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 7, 1), (5, 32, 3), (16, 33, 48), (130, 96, 80)]
)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
def test_as_near_to_float64_as_plain_products(
    dtype: torch.dtype, name: str, rows: int, inputs: int, outputs: int, biased: bool
) -> None:
    need(dtype)
    torch.manual_seed(0)
    x, weight = (torch.randn(n, inputs).to(dtype) for n in (rows, outputs))
    bias = torch.randn(outputs).to(dtype) if biased else None
    wide = [t.double().numpy() for t in (x, weight)]
    offset = bias.double().numpy() if bias is not None else 0.0
    exact = wide[0] @ wide[1].T + offset
    largest = np.abs(wide[0]) @ np.abs(wide[1]).T + np.abs(offset)
    plain = F.linear(x, weight, bias)
    fused = prepacked.PLAIN
    if name != "none":
        formula, operation = ACTIVATIONS[name]
        exact, plain = formula(exact), operation(plain)
        known = fused_activation(ACT2FN[name])
        assert known is not None
        fused = known
    found = product(x, lay_out(weight), bias, fused)
    assert (found.dtype, found.shape) == (dtype, (rows, outputs))
    error = np.abs(found.double().numpy() - exact)
    # Sums of n products in float32 are off by n roundings at most, whatever their order; the
    # steepest of the activations has a slope of 1.13 and is itself good to some roundings.
    rounding = torch.finfo(torch.float32).eps
    bound = 1.13 * (inputs + 4) * rounding * largest + 8 * rounding
    assert (error <= bound + torch.finfo(dtype).eps * np.abs(exact)).all()
    others = np.abs(plain.double().numpy() - exact)
    assert error.mean() <= 2 * others.mean() + rounding


def test_nothing_in_nothing_out() -> None:
    need(torch.float32)
    assert product(torch.zeros(0, 7), lay_out(torch.zeros(5, 7)), None).shape == (0, 5)


def test_what_is_fused() -> None:
    erf, tanh = ("gelu", "none"), ("gelu", "tanh")
    assert fused_activation(F.gelu) == fused_activation(nn.GELU()) == erf
    assert fused_activation(nn.GELU(approximate="tanh")) == tanh
    assert fused_activation(nn.ReLU()) == fused_activation(F.relu)
    for name in ("silu", "quick_gelu", "gelu_10", "tanh", "mish", "relu2"):
        assert fused_activation(ACT2FN[name]) is None
    assert fused_activation(torch.sigmoid) is None
    hooked = nn.GELU()
    hooked.register_forward_hook(lambda *_: None)
    assert fused_activation(hooked) is None

    class GELUActivation(nn.Module):  # a name alone says nothing
        pass

    assert fused_activation(GELUActivation()) is None


def test_an_activation_that_cannot_be_fused_is_applied(calls: list) -> None:
    layer, x = nn.Linear(6, 5), torch.randn(4, 6)
    with torch.no_grad():
        found = activated(x, layer, F.silu, WeightCache())
        torch.testing.assert_close(found, F.silu(layer(x)))
    assert calls == [prepacked.PLAIN]


# --- whole models -----------------------------------------------------------------------------

LENGTHS = [1, 2, 3, 64, 64, 63, 40, 9, 9, 17]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_every_family_is_as_near_to_float64(family: str, mode: Callable, calls: list) -> None:
    model, _ = MODELS[family]
    pairs = random_pairs(family, LENGTHS)
    batch = pack(pairs)
    with mode():
        exact = padded_logits(copy.deepcopy(model).double(), pairs)
        found = SCORERS[family](batch)
        with prepacking(False):
            count = len(calls)
            plain = SCORERS[family](batch)
    assert len(calls) == count
    error, others = ((x.double() - exact).abs().max() for x in (found, plain))
    assert error <= 3 * others + 1e-6
    # Four products per layer; the projection of ELECTRA's embeddings comes on top.
    layers = model.config.num_hidden_layers
    assert count == 4 * layers + (family == "electra")
    assert calls.count(("gelu", "none")) == (0 if family == "modernbert" else layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_bfloat16(family: str) -> None:
    need(torch.bfloat16)
    model, _ = MODELS[family]
    pairs = random_pairs(family, LENGTHS)
    with torch.inference_mode():
        exact = padded_logits(copy.deepcopy(model).double(), pairs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = SCORERS[family](pack(pairs))
            with prepacking(False):
                plain = SCORERS[family](pack(pairs))
    error, others = ((x.double() - exact).abs().mean() for x in (found, plain))
    assert error <= 2 * others + 1e-3


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations_of_a_model(activation: str, calls: list) -> None:
    model, _ = tiny_model("bert", hidden_act=activation)
    pairs = random_pairs("bert", LENGTHS)
    with torch.inference_mode():
        found, expected = build_scorer(model)(pack(pairs)), padded_logits(model, pairs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    fused = sum(call != prepacked.PLAIN for call in calls)
    assert fused == (0 if activation == "silu" else model.config.num_hidden_layers)


def test_with_gradients_products_are_plain(calls: list) -> None:
    model, _ = MODELS["bert"]
    scorer = SCORERS["bert"]
    batch = pack(random_pairs("bert", LENGTHS))
    with torch.no_grad():
        scorer(batch)
    before = len(calls)
    logits = scorer(batch)
    assert logits.requires_grad
    assert len(calls) == before
    assert {p.grad_fn for p in model.parameters()} == {None}


def test_other_layers_are_called_as_they_are(calls: list) -> None:
    class Doubled(torch.Tensor):
        """A weight with a product of its own, as quantised ones have."""

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            result = super().__torch_function__(func, types, args, kwargs or {})
            return result * 2 if func is F.linear else result

    x, cache = torch.randn(4, 6), WeightCache()
    hooked, subclass, wide = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(6, 5).double()
    hooked.register_forward_hook(lambda module, args, output: output * 3)
    subclass.weight = nn.Parameter(subclass.weight.detach().as_subclass(Doubled))
    with torch.no_grad():
        plain = F.linear(x, hooked.weight, hooked.bias)
        torch.testing.assert_close(linear(x, (hooked,), cache), 3 * plain)
        torch.testing.assert_close(activated(x, hooked, F.gelu, cache), F.gelu(3 * plain))
        plain = x @ subclass.weight.as_subclass(torch.Tensor).T
        found = linear(x, (subclass,), cache).as_subclass(torch.Tensor)
        torch.testing.assert_close(found, 2 * (plain + subclass.bias))
        torch.testing.assert_close(linear(x.double(), (wide,), cache), wide(x.double()))
    assert calls == []


# --- the decision -----------------------------------------------------------------------------

AVX512 = "avx2 avx512f avx512dq avx512bw avx512vl"


@pytest.mark.parametrize(
    ("machine", "maker", "flags", "wanted"),
    [
        ("x86_64", "AuthenticAMD", "fpu avx2 fma", ()),  # Zen 3
        ("x86_64", "AuthenticAMD", f"{AVX512} avx512_vnni avx512_bf16", DTYPES),  # Zen 4
        ("x86_64", "AuthenticAMD", AVX512, (torch.float32,)),
        ("x86_64", "AuthenticAMD", "avx2 avx512f", ()),
        ("x86_64", "GenuineIntel", f"{AVX512} avx512_vnni", ()),  # Ice Lake
        ("x86_64", "GenuineIntel", f"{AVX512} avx512_bf16 amx_bf16", (torch.bfloat16,)),
        ("x86_64", "GenuineIntel", f"{AVX512} amx_bf16", (torch.bfloat16,)),
        ("x86_64", "SomebodyElse", AVX512, ()),
        ("aarch64", "AuthenticAMD", f"{AVX512} avx512_bf16", ()),
        ("x86_64", None, None, ()),
    ],
)
def test_the_processor_decides(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    maker: str | None,
    flags: str | None,
    wanted: tuple[torch.dtype, ...],
) -> None:
    text = "" if flags is None else f"vendor_id\t: {maker}\nmodel\t\t: 1\nflags\t\t: {flags}\n"
    monkeypatch.setattr(cpu, "_cpuinfo", lambda: text)
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
    cpu.processor.cache_clear()
    try:
        types = (*DTYPES, torch.float16, torch.float64)
        assert tuple(dtype for dtype in types if suggested(dtype)) == wanted
        with prepacking(None):
            for dtype in types:
                assert prepacks(dtype) == (dtype in wanted and unavailable(dtype) is None)
    finally:
        cpu.processor.cache_clear()


def test_the_switch_goes_back() -> None:
    need(torch.float32)
    switched = prepacking(False)
    switched.__enter__()
    assert not prepacks(torch.float32)
    with prepacking(True):
        assert prepacks(torch.float32)
    assert not prepacks(torch.float32)
    assert not switched.__exit__(KeyError, KeyError(), None), "an exception passes through"
    assert prepacks(torch.float32)
    assert not prepacks(torch.float64)
    torch._C._set_mkldnn_enabled(False)  # what `torch.backends.mkldnn.enabled = False` does
    try:
        assert not prepacks(torch.float32)
    finally:
        torch._C._set_mkldnn_enabled(True)
    assert prepacks(torch.float32)
