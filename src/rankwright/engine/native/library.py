"""The compiled library: where it is, whether this machine can run it, and its functions.

It is built with the package where there is a C++ compiler for x86 and Linux, needs nothing but
the C library, and is loaded with `ctypes`. Without it everything works, more slowly.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p
from pathlib import Path

from rankwright.engine.cpu import processor

__all__ = ["Batch", "Layer", "Model", "Norm", "Product", "library", "suggested", "unavailable"]

FILE = Path(__file__).with_name("kernels.so")
VERSION = 1
_NEEDED = frozenset(("avx2", "fma"))


class Product(Structure):
    """As in model.h, like the other structures here."""

    _fields_ = (
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
        ("inputs", c_int64),
        ("outputs", c_int64),
    )


class Norm(Structure):
    """Weights of a layer normalisation."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("epsilon", c_double))


class Layer(Structure):
    """One layer of an encoder."""

    _fields_ = (
        ("qkv", Product),
        ("out", Product),
        ("up", Product),
        ("down", Product),
        ("out_norm", Norm),
        ("down_norm", Norm),
    )


class Model(Structure):
    """An encoder."""

    _fields_ = (
        ("hidden", c_int64),
        ("inner", c_int64),
        ("heads", c_int64),
        ("layers", c_int64),
        ("activation", c_int32),
        ("bits", c_int32),
        ("words", c_void_p),
        ("places", c_void_p),
        ("types", c_void_p),
        ("norm", Norm),
        ("layer", POINTER(Layer)),
    )


class Batch(Structure):
    """Pairs that lie end to end."""

    _fields_ = (
        ("pairs", c_int64),
        ("lengths", c_void_p),
        ("ids", c_void_p),
        ("positions", c_void_p),
        ("types", c_void_p),
        ("first_only", c_int32),
        ("threads", c_int32),
    )


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The library, or why it cannot be used."""
    if not processor().features >= _NEEDED:
        return "it needs an x86 processor with AVX2 and FMA, under Linux"
    if not FILE.is_file():
        return (
            "it was not built, because there was no C++ compiler when Rankwright was installed; "
            "install one (g++ or clang++) and then Rankwright again"
        )
    try:
        found = ctypes.CDLL(str(FILE))
        version = int(found.rw_version())
    except (OSError, AttributeError) as error:
        return f"{FILE} cannot be loaded: {error}"
    if version != VERSION:
        return f"{FILE} has version {version}, not {VERSION}: install Rankwright again"
    found.rw_encode.argtypes = (POINTER(Model), POINTER(Batch), c_void_p)
    found.rw_encode.restype = c_int32
    return found


def unavailable() -> str | None:
    """Why the library cannot be used here; None if it can."""
    found = _load()
    return found if isinstance(found, str) else None


def suggested() -> bool:
    """Whether it is faster than PyTorch here: on processors whose widest vectors are AVX2's."""
    return unavailable() is None and "avx512f" not in processor().features


def library() -> ctypes.CDLL:
    """The library; see `unavailable` first."""
    found = _load()
    if isinstance(found, str):
        raise RuntimeError(f"The compiled library cannot be used: {found}.")
    return found
