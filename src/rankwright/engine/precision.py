"""Which number format the products of a forward pass are computed in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling
from rankwright.errors import InputError

__all__ = [
    "PRECISIONS",
    "compute_dtype",
    "precision_context",
    "precision_name",
    "resolve_precision",
]

PRECISIONS = ("float32", "bfloat16", "float16", "int16", "auto")
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int16": torch.float32,
}


def resolve_precision(precision: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The compute type a precision stands for on a device.

    ``"auto"`` is bfloat16 where the hardware multiplies it natively (CPUs with AVX512-BF16 or
    AMX, GPUs of compute capability 8 and later), else float32; see also `precision_name`. Weights
    stay in their own type; only products and activations use the compute type. ``"int16"``
    multiplies 16-bit integers in the compiled library (see `rankwright.engine.compiled`);
    everything else stays in float32.

    Raises:
        InputError: ``precision`` is not one of `PRECISIONS`.
    """
    if precision in _DTYPES:
        return _DTYPES[precision]
    if precision != "auto":
        raise InputError(
            f"precision={precision!r} is not known; choose one of {', '.join(PRECISIONS)}."
        )
    device = torch.device(device)
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    elif device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def precision_name(precision: str, device: torch.device | str = "cpu") -> str:
    """What ``"auto"`` is on a device; other precisions stay.

    Beside what `resolve_precision` says, that is ``"int16"`` on processors whose widest vectors are
    AVX2's, for models that the compiled library can run; others run in float32 there.

    Raises:
        InputError: ``precision`` is not one of `PRECISIONS`.
    """
    dtype = resolve_precision(precision, device)
    if precision != "auto":
        return precision
    if torch.device(device).type == "cpu" and dtype == torch.float32 and library.suggested():
        return "int16"
    return str(dtype).removeprefix("torch.")


def precision_context(precision: str, device: torch.device | str) -> AbstractContextManager[object]:
    """Runs a scorer in this precision: a `torch.autocast`, or a `compiling` block, or nothing."""
    name = precision_name(precision, device)
    if name == "int16":
        return compiling(16)
    if name == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=_DTYPES[name])


def compute_dtype(device: torch.device, parameters: torch.dtype) -> torch.dtype:
    """The type to compute in now: autocast's where it is on, else the parameters' own."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return parameters
