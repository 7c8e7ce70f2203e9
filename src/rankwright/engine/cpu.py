"""What the processor of this machine can do, told without any library."""

from __future__ import annotations

import functools
import math
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Processor", "available_cores", "exact_int8", "machine_name", "processor"]


@functools.cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return ""


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i386", "i686", "x86")


def _entry(name: str) -> str:
    """An entry of the first processor in /proc/cpuinfo; empty where there is none."""
    found = re.search(rf"^{name}[ \t]*:(.*)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else ""


@dataclass(frozen=True)
class Processor:
    """Who made an x86 processor, and what it can do, by Linux's names.

    Attributes:
        maker: Such as ``"AuthenticAMD"`` or ``"GenuineIntel"``; empty where it is not known.
        features: Such as ``"avx2"``; empty where they are not known.
    """

    maker: str
    features: frozenset[str]


@functools.cache
def processor() -> Processor:
    """This machine's x86 processor; one that is not known can nothing, as far as this tells."""
    if not _is_x86():
        return Processor("", frozenset())
    return Processor(_entry("vendor_id"), frozenset(_entry("flags").split()))


@functools.cache
def exact_int8() -> bool:
    """Whether products of 8-bit numbers are added up without saturating on the way.

    x86 processors without the VNNI instructions add two products in 16 bits, which overflows for
    weights that use all of their 8 bits; such weights must be kept to 7. Processors of other makers
    add in 32 bits. Where the features cannot be read, the answer is the safe one.
    """
    if not _is_x86():
        return True
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_entry("flags").split())


@functools.cache
def machine_name() -> str:
    """Processor and number of cores, to tell whether a measurement was made on a machine alike."""
    name = _entry("model name") or platform.processor() or platform.machine()
    model = _entry("model")
    number = f" ({model})" if model else ""
    return f"{name}{number}, {available_cores()} cores"


def available_cores() -> int:
    """Cores that this process may use; at least 1.

    That is the number in its CPU affinity, or what control groups allow where that is less: a
    container with ``--cpus 2`` on a machine of 64 cores is told 2, a part of a core counts as one.
    """
    allowed = _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores if allowed is None else min(cores, math.ceil(allowed)))


def _quota(membership: Path, root: Path) -> float | None:
    """Cores' worth of time that control groups (Linux, both versions) allow; None for no limit.

    Every group above the process's own limits it as well. In a container the files of its own group
    are at the root, whatever name the membership tells.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    found: list[float] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        below = top / group.strip("/")
        for folder in {top, below, *(p for p in below.parents if p.is_relative_to(top))}:
            limit = _limit_v1(folder) if controllers else _limit_v2(folder)
            if limit is not None:
                found.append(limit)
    return min(found, default=None)


def _limit_v2(folder: Path) -> float | None:
    """``cpu.max``: microseconds of processor time, or "max", in a period."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _limit_v1(folder: Path) -> float | None:
    """The same in version 1: a quota below 0 stands for no limit."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
