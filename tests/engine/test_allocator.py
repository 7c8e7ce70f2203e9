"""Freed memory stays in the process, in every thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
import torch
from rankwright.engine.allocator import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed_memory()
faults = []

def work():
    # Too large for the C library to keep by itself, and together more than a piece of a heap.
    for _ in range(16):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [torch.ones(10 * 2**20) for _ in range(3)]
        del held
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults[0], sum(faults[8:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc on Linux")
def test_memory_is_kept_in_threads() -> None:
    first, later = _faults("kept")
    assert later < first / 10
    # The measurement sees what is given back: without the setting, every turn maps pages again.
    first, later = _faults("given back")
    assert later > 2 * first


def _faults(how: str) -> tuple[int, int]:
    run = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    first, later = map(int, run.stdout.split())
    return first, later


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells by /proc")
def test_kept_memory_can_be_given_back() -> None:
    program = """
from pathlib import Path
from rankwright.engine.allocator import give_back_freed_memory, keep_freed_memory
import torch

keep_freed_memory()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
held = [torch.ones(2**20) for _ in range(50)]
fence = torch.ones(8)
del held
kept = resident() - before
give_back_freed_memory()
print(kept, resident() - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    kept, left = map(int, run.stdout.split())
    assert kept > 150 * 2**20
    assert left < 20 * 2**20
