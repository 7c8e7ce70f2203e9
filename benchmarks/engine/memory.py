"""Resident memory of this process, from the system's own counters (Linux)."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["limit_memory", "peak_mib", "resident_mib", "restart_peak"]

SPARED = 0.9
"""Share of the free memory that one measurement may take: the machine must live on."""


def _status(name: str) -> float:
    """An entry of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def resident_mib() -> float:
    """What is resident now."""
    return _status("VmRSS")


def peak_mib() -> float:
    """The most that was resident since the start, or since `restart_peak`."""
    return _status("VmHWM")


def restart_peak() -> bool:
    """Counts the peak from here on; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def limit_memory() -> None:
    """Makes allocations fail before the whole machine runs out of memory."""
    free = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        if line.startswith("MemAvailable:")
    )
    most = int(_status("VmSize") * 2**20 + SPARED * free)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    # If memory runs out all the same, this process is the one to go.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
