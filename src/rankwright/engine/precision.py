"""Which number format the products of a forward pass are computed in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from rankwright.errors import InputError

__all__ = ["PRECISIONS", "compute_dtype", "precision_context", "resolve_precision"]

PRECISIONS = ("float32", "bfloat16", "float16", "auto")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str, device: torch.device | str = "cpu") -> torch.dtype:
    """The compute type a precision stands for on a device.

    ``"auto"`` is bfloat16 where the hardware multiplies it natively (CPUs with AVX512-BF16 or
    AMX, GPUs of compute capability 8 and later), else float32. Weights stay in their own type;
    only products and activations use the compute type.

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


def precision_context(precision: str, device: torch.device | str) -> AbstractContextManager[object]:
    """Runs a scorer in this precision: a `torch.autocast`, or nothing for float32."""
    dtype = resolve_precision(precision, device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=dtype)


def compute_dtype(device: torch.device, parameters: torch.dtype) -> torch.dtype:
    """The type to compute in now: autocast's where it is on, else the parameters' own."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return parameters
