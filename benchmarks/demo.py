"""Runs the demo with several seeds and keeps what it found in benchmarks/results/demo.json.

.venv/bin/python benchmarks/demo.py
.venv/bin/python benchmarks/demo_table.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "demo.json"
PACKAGES = ("rankwright", "torch", "transformers", "datasets", "bm25s", "numpy")
LEFT_OUT = ("output", "model_path", "example")
NOT_BETTER = 3


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None
    return round(pages * size / 2**30, 1)


def run(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    """One demo in a process of its own; what it prints as JSON, without paths and the example."""
    command = [sys.executable, "-m", "rankwright", "demo", "--json", "--resume"]
    command += ["--output", str(folder / f"seed-{seed}"), "--seed", str(seed)]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], stdout=subprocess.PIPE)
    if done.returncode not in (0, NOT_BETTER):
        raise SystemExit(f"The demo with seed {seed} ended with exit code {done.returncode}.")
    found = json.loads(done.stdout)
    return {"seed": seed, **{k: found[k] for k in found if k not in LEFT_OUT}}


def main() -> None:
    """Runs all seeds, one after the other, and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[12, 13, 14])
    parser.add_argument("--folder", type=Path, help="where the runs go, to go on with them later")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to try this out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        runs = [run(seed, folder, given.quick) for seed in given.seeds]
    results = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "quick": given.quick,
        "runs": runs,
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"Wrote {given.output}.")


if __name__ == "__main__":
    main()
