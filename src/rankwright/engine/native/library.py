"""The compiled library: where it is, whether this machine can run it, and its functions.

It is built with the package where there is a C++ compiler for x86 and Linux, needs nothing but
the C library, and is loaded with `ctypes`. Without it everything works, more slowly.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import (
    POINTER,
    Structure,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_uint64,
    c_void_p,
    cast,
)
from pathlib import Path
from typing import Any

from rankwright.engine.cpu import processor

__all__ = [
    "Attended",
    "Batch",
    "Dropout",
    "Layer",
    "MatrixProduct",
    "Model",
    "Norm",
    "Normed",
    "Product",
    "library",
    "share_team",
    "suggested",
    "unavailable",
]

FILE = Path(__file__).with_name("kernels.so")
VERSION = 4
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
        ("keys", c_void_p),
        ("values", c_void_p),
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


class Dropout(Structure):
    """As in random.h: which bytes are dropped, and what the rest is multiplied by."""

    _fields_ = (("seed", c_uint64), ("threshold", c_int32), ("worth", c_float))


class Attended(Structure):
    """Attention in training, as in trained_attention.h."""

    _fields_ = (
        ("pairs", c_int64),
        ("heads", c_int64),
        ("size", c_int64),
        ("starts", c_void_p),
        ("lengths", c_void_p),
        ("drop", Dropout),
        ("first_only", c_int32),
        ("threads", c_int32),
    )


class Normed(Structure):
    """Rows to normalise in training, as in trained_rows.h."""

    _fields_ = (
        ("rows", c_int64),
        ("width", c_int64),
        ("norm", Norm),
        ("drop", Dropout),
        ("threads", c_int32),
    )


class MatrixProduct(Structure):
    """A product of two matrices, as in gemm.h."""

    _fields_ = (
        ("a", c_void_p),
        ("b", c_void_p),
        ("bias", c_void_p),
        ("out", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("depth", c_int64),
        ("transposed", c_int32),
        ("threads", c_int32),
    )


_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rw_encode": (c_int32, (POINTER(Model), POINTER(Batch), c_void_p)),
    "rw_multiply": (c_int32, (POINTER(MatrixProduct),)),
    "rw_use_team": (None, (c_void_p,)),
    "rw_attend": (c_int32, (POINTER(Attended), *[c_void_p] * 3)),
    "rw_attend_back": (c_int32, (POINTER(Attended), *[c_void_p] * 5)),
    "rw_add_norm": (None, (POINTER(Normed), *[c_void_p] * 5)),
    "rw_add_norm_back": (None, (POINTER(Normed), *[c_void_p] * 6, c_int64)),
    "rw_activate": (None, (c_int32, c_void_p, c_void_p, c_int64, c_int32)),
    "rw_activate_back": (None, (c_int32, *[c_void_p] * 3, c_int64, c_int32)),
}


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
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
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


def share_team(openmp: Path) -> None:
    """Lets the library work in the threads of an OpenMP library (GNU's) that is loaded already.

    Two teams of threads would share the cores, and the idle one's stay awake for a while.
    """
    try:
        run = ctypes.CDLL(str(openmp)).GOMP_parallel
    except (OSError, AttributeError):
        return  # it has threads of its own then
    library().rw_use_team(cast(run, c_void_p))
