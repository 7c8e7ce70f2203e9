"""Operations of training in the compiled library, forward and backward.

PyTorch has attention with dropout, and a residual with dropout and normalisation, only as many
operations, each of which reads and writes everything. Of a linear layer's three products, PyTorch
keeps the one for the gradient of the weight, where it is the faster. Dropout draws from PyTorch's
random state, as elsewhere; masks are drawn again on the way back instead of being kept.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import byref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rankwright.engine.dropout import draw_threshold
from rankwright.engine.layout import Layout
from rankwright.engine.native import library as c
from rankwright.engine.native.choice import wanted_bits
from rankwright.engine.native.encoder import ACTIVATIONS
from rankwright.engine.prepacked import Fused, fused_activation
from rankwright.engine.trained_attention import TrainedHeads

__all__ = [
    "COMPILED_ACTIVATIONS",
    "activate_compiled",
    "activates_compiled",
    "add_norm_compiled",
    "adds_compiled",
    "attend_compiled",
    "attends_compiled",
    "linear_compiled",
    "linear_compiled_back",
    "multiplies_compiled",
]

COMPILED_ACTIVATIONS: dict[Fused | None, str] = {
    ("gelu", "none"): "gelu",
    ("gelu", "tanh"): "gelu_tanh",
    ("relu", "none"): "relu",
}
"""The library's names of activations."""
_STEP = 8
_COLUMNS = 16
_FEWEST_ROWS = 128
"""Below this many, copying the weight costs more than is gained."""
_MOST_DROPPED = 0.99
"""A random byte has to be able to stay above the threshold."""
_PIECES = 64
"""Gradients of a normalisation's weights are summed in this many pieces, for any number of
threads, so that sums do not depend on it."""


def attends_compiled(dtype: torch.dtype, device: torch.device, heads: TrainedHeads) -> bool:
    """Whether `attend_compiled` runs attention of this kind."""
    return _runs(dtype, device, heads.dropout) and heads.size % _STEP == 0


def adds_compiled(x: Tensor, p: float, norm: nn.Module) -> bool:
    """Whether `add_norm_compiled` can take these."""
    return (
        _runs(x.dtype, x.device, p)
        and type(norm) is nn.LayerNorm
        and norm.weight is not None
        and all(type(w) is nn.Parameter and w.dtype == torch.float32 for w in norm.parameters())
        and x.shape[-1] % _STEP == 0
    )


def activates_compiled(x: Tensor, activation: Callable[[Tensor], Tensor]) -> bool:
    """Whether `activate_compiled` knows the activation and can take these inputs."""
    return (
        _runs(x.dtype, x.device, 0.0)
        and x.shape[-1] % _STEP == 0
        and fused_activation(activation) in COMPILED_ACTIVATIONS
    )


def _runs(dtype: torch.dtype, device: torch.device, p: float) -> bool:
    return (
        dtype == torch.float32
        and device.type == "cpu"
        and 0.0 <= p <= _MOST_DROPPED
        and bool(wanted_bits())
    )


@functools.cache
def _library() -> ctypes.CDLL:
    found = c.library()
    for openmp in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        c.share_team(openmp)
    return found


def _drop(p: float) -> c.Dropout:
    if p == 0.0:
        return c.Dropout(seed=0, threshold=0, worth=1.0)
    seed, threshold = draw_threshold(p)
    return c.Dropout(seed=seed, threshold=threshold, worth=1.0 / (1.0 - p))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, layout: Layout, heads: TrainedHeads) -> Tensor:
        starts, lengths = layout.pairs
        rows = len(layout.first) if heads.first_only else len(qkv)
        # Slots that no pair fills are not written to.
        filled = len(lengths) if heads.first_only else int(lengths.sum())
        make = qkv.new_empty if filled == rows else qkv.new_zeros
        out, sums = make(rows, heads.count * heads.size), qkv.new_empty(rows, heads.count)
        described = c.Attended(
            pairs=len(lengths),
            heads=heads.count,
            size=heads.size,
            starts=starts.ctypes.data,
            lengths=lengths.ctypes.data,
            drop=_drop(heads.dropout),
            first_only=heads.first_only,
            threads=torch.get_num_threads(),
        )
        qkv = qkv.contiguous()
        failed = _library().rw_attend(
            byref(described), qkv.data_ptr(), out.data_ptr(), sums.data_ptr()
        )
        _check(failed, lengths.max())
        ctx.save_for_backward(qkv, out, sums)
        ctx.described, ctx.layout = described, layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        qkv, out, sums = ctx.saved_tensors
        lengths = ctx.layout.pairs[1]
        filled = int(lengths.sum()) == len(qkv)
        result = torch.empty_like(qkv) if filled else torch.zeros_like(qkv)
        gradient = gradient.contiguous()
        failed = _library().rw_attend_back(
            byref(ctx.described),
            *(t.data_ptr() for t in (qkv, out, sums, gradient, result)),
        )
        _check(failed, lengths.max())
        return result, None, None


def _check(failed: int, longest: int) -> None:
    if failed:
        raise MemoryError(f"Not enough memory for attention over {longest} tokens.")


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, how: Any
    ) -> Tensor:
        epsilon, p = how
        rows, width = x.shape
        x, y = x.contiguous(), y.contiguous()
        norm = c.Norm(weight=weight.data_ptr(), bias=_address(bias), epsilon=epsilon)
        described = c.Normed(
            rows=rows, width=width, norm=norm, drop=_drop(p), threads=torch.get_num_threads()
        )
        kept, out, scales = torch.empty_like(x), torch.empty_like(x), x.new_empty(rows)
        _library().rw_add_norm(byref(described), *(t.data_ptr() for t in (x, y, kept, scales, out)))
        ctx.save_for_backward(kept, scales, weight)
        ctx.described, ctx.biased = described, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, scales, weight = ctx.saved_tensors
        # Weights that are kept in shares may lie elsewhere by now.
        ctx.described.norm.weight, ctx.described.norm.bias = weight.data_ptr(), None
        rows, width = kept.shape
        # Without dropout, both terms of a sum have the same gradient.
        gx = torch.empty_like(kept)
        gy = gx if ctx.described.drop.worth == 1.0 else torch.empty_like(kept)
        piece = max(16, -(-rows // _PIECES))
        sums = kept.new_zeros(-(-rows // piece), 2, width)
        gradient = gradient.contiguous()
        _library().rw_add_norm_back(
            byref(ctx.described),
            *(t.data_ptr() for t in (kept, scales, gradient, gx)),
            None if gy is gx else gy.data_ptr(),
            sums.data_ptr(),
            piece,
        )
        gw, gb = sums.sum(0).unbind(0)
        return gx, gy, gw, gb if ctx.biased else None, None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, number: int) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        threads = torch.get_num_threads()
        _library().rw_activate(number, x.data_ptr(), out.data_ptr(), x.numel(), threads)
        ctx.save_for_backward(x)
        ctx.number = number
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        result, gradient = torch.empty_like(x), gradient.contiguous()
        _library().rw_activate_back(
            ctx.number,
            *(t.data_ptr() for t in (x, gradient, result)),
            x.numel(),
            torch.get_num_threads(),
        )
        return result, None


def multiplies_compiled(x: Tensor, weight: Tensor) -> bool:
    """Whether `linear_compiled` can take ``(T, in)`` inputs and an ``(out, in)`` weight."""
    return (
        _runs(x.dtype, x.device, 0.0)
        and len(x) >= _FEWEST_ROWS
        and weight.dtype == torch.float32
        and all(width % _COLUMNS == 0 for width in weight.shape)
    )


def linear_compiled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``, without a gradient: ``(T, in)``, ``(out, in)`` to ``(T, out)``.

    Raises:
        MemoryError: There is not enough for copies of both factors.
    """
    return _multiply(x, weight, bias, transposed=False)


def linear_compiled_back(gradient: Tensor, weight: Tensor) -> Tensor:
    """``gradient @ weight``, ``(T, out)``, ``(out, in)`` to ``(T, in)``: the gradient of inputs.

    Raises:
        MemoryError: There is not enough for copies of both factors.
    """
    return _multiply(gradient, weight, None, transposed=True)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    outputs, inputs = weight.shape
    rows, depth, columns = (len(x), *((outputs, inputs) if transposed else (inputs, outputs)))
    out = x.new_empty(rows, columns)
    described = c.MatrixProduct(
        a=x.data_ptr(),
        b=weight.data_ptr(),
        bias=_address(bias),
        out=out.data_ptr(),
        rows=rows,
        columns=columns,
        depth=depth,
        transposed=transposed,
        threads=torch.get_num_threads(),
    )
    if _library().rw_multiply(byref(described)):
        raise MemoryError(f"Not enough memory for a product of {rows} x {depth} x {columns}.")
    return out


def attend_compiled(qkv: Tensor, layout: Layout, heads: TrainedHeads) -> Tensor:
    """Attention with dropout within every pair (Vaswani et al., 2017), without windows.

    Args:
        qkv: ``(S, 3·H·D)`` float32 queries, keys and values, in that order.
        layout: Where the pairs lie.
        heads: Of a kind that `attends_compiled`.

    Returns:
        ``(S, H·D)``, or ``(R, H·D)`` where only first tokens ask.

    Raises:
        MemoryError: There is not enough for one pair's attention.
    """
    result: Tensor = _Attention.apply(qkv, layout, heads)  # type: ignore[no-untyped-call]
    return result


def add_norm_compiled(x: Tensor, y: Tensor, p: float, norm: nn.LayerNorm) -> Tensor:
    """``norm(x + dropout(y, p))`` for ``(T, width)`` float32 of a kind that `adds_compiled`."""
    result: Tensor = _AddNorm.apply(x, y, norm.weight, norm.bias, (norm.eps, p))  # type: ignore[no-untyped-call]
    return result


def activate_compiled(x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """``activation(x)``, ``(T, width)`` float32, for one that `activates_compiled`."""
    number = ACTIVATIONS[COMPILED_ACTIVATIONS[fused_activation(activation)]]
    result: Tensor = _Activation.apply(x, number)  # type: ignore[no-untyped-call]
    return result
