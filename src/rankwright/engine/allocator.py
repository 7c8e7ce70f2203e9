"""Keeps freed memory for the next batch instead of handing it back to the system.

By default the C library returns large blocks to the system as soon as they are free; every batch
then gets fresh pages, which the system must map and clear again. That takes about a tenth of a
training step on a CPU, and more in any thread but the first: there the heap consists of pieces of
64 MiB, and each that is empty goes back as a whole.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from collections.abc import Callable

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

logger = logging.getLogger(__name__)

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_BLOCK = 256 * 2**20
_KEPT = 2**31 - 1
# With so much room wanted at the end of a thread's heap, no piece of it is ever given back.
_PIECE = 64 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Raises the C library's thresholds, once per process; True if it did.

    Blocks below 256 MiB come from the heap, and up to 2 GiB of free heap are kept, in every thread
    (there, blocks below 64 MiB). Only glibc on Linux knows these settings; elsewhere nothing
    happens.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    wanted = ((_MMAP_THRESHOLD, _BLOCK), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PIECE))
    done = all(mallopt(name, value) for name, value in wanted)
    logger.debug("Freed memory is kept: %s", done)
    return done


def give_back_freed_memory() -> bool:
    """Hands all free pages back to the system now; True if there were any.

    For processes that live long: blocks of ever new sizes leave gaps between them, and kept gaps
    add up. Takes milliseconds, and the next batch maps its pages again. Only with glibc on Linux.
    """
    trim = _glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None  # such as musl
    return found
