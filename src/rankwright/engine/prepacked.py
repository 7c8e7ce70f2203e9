"""Products with weights that oneDNN has laid out beforehand.

`torch.nn.functional.linear` sends float32 products to MKL, which uses no AVX-512 on processors that
are not Intel's, and bfloat16 products to oneDNN, which lays the weight out anew at each call.
Here oneDNN gets both, with the weight in its own layout and an activation as part of the product.
Whether that is faster is decided by the processor's maker and features alone, so that scores are
the same from run to run.

The operators are those that ``torch.compile`` uses (``torch.ops.mkldnn``). A laid out weight is an
opaque tensor: it cannot be copied, saved or sent to another process, so it must be made again from
the parameters wherever it is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rankwright.engine.cpu import processor

__all__ = [
    "Fused",
    "fused_activation",
    "lay_out",
    "prepacking",
    "prepacks",
    "product",
    "suggested",
    "unavailable",
]

Fused = tuple[str, str]
"""An activation as oneDNN knows it: its name and its algorithm."""

PLAIN: Fused = ("none", "none")
_GELU: Fused = ("gelu", "none")
_GELU_TANH: Fused = ("gelu", "tanh")
_RELU: Fused = ("relu", "none")

_BY_CLASS: dict[str, Fused] = {
    # transformers' classes. The last three have one formula, the last two over time one name each.
    "GELUActivation": _GELU,
    "NewGELUActivation": _GELU_TANH,
    "GELUTanh": _GELU_TANH,
    "PytorchGELUTanh": _GELU_TANH,
}
_AVX512 = frozenset(("avx512f", "avx512bw", "avx512dq", "avx512vl"))
_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
_BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16"))


class _Choice:
    """What `prepacking` asks for; None leaves it to the processor."""

    on: bool | None = None


@contextmanager
def prepacking(on: bool | None) -> Iterator[None]:
    """Decides for all threads whether products are prepacked: for tests and benchmarks.

    Args:
        on: True wherever oneDNN can, False nowhere, None as the processor suggests.
    """
    before = _Choice.on
    _Choice.on = on
    try:
        yield
    finally:
        _Choice.on = before


def unavailable(dtype: torch.dtype) -> str | None:
    """Why products of this type cannot be prepacked here; None if they can."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this build of PyTorch has no oneDNN"
    if not torch._C._get_mkldnn_enabled():
        return "oneDNN is switched off"
    return _missing(dtype)


@functools.cache
def _missing(dtype: torch.dtype) -> str | None:
    operators = torch.ops.mkldnn
    if not all(hasattr(operators, name) for name in _OPERATORS):
        return "this build of PyTorch has no operators for prepacked weights"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"there are none in {dtype}"
    if dtype == torch.bfloat16 and not operators._is_mkldnn_bf16_supported():
        return "this processor does not multiply bfloat16"
    return None


def prepacks(dtype: torch.dtype) -> bool:
    """Whether products of this type on the CPU are prepacked now.

    Unless `prepacking` says otherwise: in float32 on AMD's processors with AVX-512, in bfloat16 on
    processors that multiply it (AVX512-BF16 or AMX); x86 under Linux only, where the processor
    tells what it is.
    """
    on = suggested(dtype) if _Choice.on is None else _Choice.on
    return on and unavailable(dtype) is None


def suggested(dtype: torch.dtype) -> bool:
    """Whether prepacked products of this type are faster on this processor."""
    here = processor()
    if dtype == torch.float32:
        return here.maker == "AuthenticAMD" and here.features >= _AVX512
    return dtype == torch.bfloat16 and here.features >= _AVX512 and bool(here.features & _BFLOAT16)


def fused_activation(activation: Callable[[Tensor], Tensor]) -> Fused | None:
    """What to call an activation in `product`; None for one that cannot be part of it."""
    if isinstance(activation, nn.Module) and (
        activation._forward_hooks or activation._forward_pre_hooks
    ):
        return None
    if type(activation) is nn.GELU:
        return _GELU_TANH if activation.approximate == "tanh" else _GELU
    if type(activation) is nn.ReLU or activation is nn.functional.relu:
        return _RELU
    if activation is nn.functional.gelu:
        return _GELU
    kind = type(activation)
    known = kind.__module__ == "transformers.activations"
    return _BY_CLASS.get(kind.__name__) if known else None


def lay_out(weight: Tensor) -> Tensor:
    """A plain ``(outputs, inputs)`` weight in oneDNN's layout, without gradient."""
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return laid_out


def product(x: Tensor, weight: Tensor, bias: Tensor | None, fused: Fused = PLAIN) -> Tensor:
    """``activation(x @ W.T + b)``: ``(T, inputs)`` to ``(T, outputs)``, without gradient.

    Args:
        x: On the CPU, of the weight's type; T may be 0.
        weight: From `lay_out`.
        bias: ``(outputs,)`` of the same type, or None.
        fused: From `fused_activation`.
    """
    if len(x) == 0:
        return x.new_zeros(0, weight.shape[0])
    arguments: tuple[Any, ...] = (x, weight, bias, fused[0], [], fused[1])
    result: Tensor = torch.ops.mkldnn._linear_pointwise(*arguments)
    return result
