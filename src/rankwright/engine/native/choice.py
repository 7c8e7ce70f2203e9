"""Whether the compiled library is used, and in which number format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rankwright.engine.native import library

__all__ = ["compiling", "wanted_bits"]

_choice: ContextVar[int | None] = ContextVar("compiled", default=None)
"""Bits of a weight that are asked for; 0 for none; None leaves it to the processor."""


@contextmanager
def compiling(bits: int | None) -> Iterator[None]:
    """Decides in this thread whether the compiled library is used.

    Args:
        bits: 32 or 16 wherever the model can run in it, 0 nowhere, None in float32 where that is
            faster.
    """
    token = _choice.set(bits)
    try:
        yield
    finally:
        _choice.reset(token)


def wanted_bits() -> int:
    """Bits of a weight in the compiled library now; 0 where it is not to be used."""
    asked = _choice.get()
    if asked is not None:
        return asked if library.unavailable() is None else 0
    return 32 if library.suggested() else 0
