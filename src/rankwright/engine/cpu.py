"""What the processor of this machine can do, told without any library."""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path

__all__ = ["available_cores", "exact_int8", "machine_name"]


@functools.cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return ""


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i386", "i686", "x86")


@functools.cache
def exact_int8() -> bool:
    """Whether products of 8-bit numbers are added up without saturating on the way.

    x86 processors without the VNNI instructions add two products in 16 bits, which overflows for
    weights that use all of their 8 bits; such weights must be kept to 7. Processors of other makers
    add in 32 bits. Where the features cannot be read, the answer is the safe one.
    """
    if not _is_x86():
        return True
    flags = re.search(r"^flags\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    return bool(found & {"avx512_vnni", "avx_vnni"})


@functools.cache
def machine_name() -> str:
    """Processor and number of cores, to tell whether a measurement was made on a machine alike."""
    model = re.search(r"^model name\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    family = re.search(r"^model\s*:\s*(\d+)", _cpuinfo(), re.MULTILINE)
    name = model[1].strip() if model else platform.processor() or platform.machine()
    number = f" ({family[1]})" if family else ""
    return f"{name}{number}, {available_cores()} cores"


def available_cores() -> int:
    """Cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
