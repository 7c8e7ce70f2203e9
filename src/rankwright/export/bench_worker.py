"""One measurement in a process of its own: ``python -m rankwright.export.bench_worker JSON``.

A fresh process is what start-up and memory are measured by, and no backend's threads disturb
another's. Reads ``{"folder", "backend", "precision", "file", "threads", "seconds", "started"}``,
writes one line of JSON on standard output.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import RankwrightError
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import read_golden

__all__ = ["measure", "peak_memory"]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Start-up, throughput, latency and memory of one backend."""
    logging.disable(logging.WARNING)
    folder = ModelFolder(Path(job["folder"]))
    golden = read_golden(folder)
    model = _load(job)
    first = golden.queries[0]
    model.rank(first.query, first.documents, show_progress_bar=False)
    ready = time.time() - job["started"]
    pairs = golden.pairs
    rates: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while len(rates) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        model.score(pairs, show_progress_bar=False)
        rates.append(len(pairs) / (time.perf_counter() - start))
    times: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while len(times) < len(golden.queries) or time.perf_counter() < end:
        query = golden.queries[len(times) % len(golden.queries)]
        start = time.perf_counter()
        model.rank(query.query, query.documents, show_progress_bar=False)
        times.append(1000 * (time.perf_counter() - start))
    # The first round warms up: it allocates, and engines generate code for new shapes.
    return {
        "pairs_per_second": float(np.median(rates[1:])),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "start_seconds": ready,
        "peak_memory": peak_memory(),
        "computes": getattr(model, "computes", job["precision"]),
    }


def _load(job: dict[str, Any]) -> Any:
    if job["backend"] != "torch":
        from rankwright.model.reranker import Reranker

        return Reranker(
            job["folder"],
            backend=job["backend"],
            precision=job["precision"],
            file_name=job["file"],
            threads=job["threads"],
        )
    import torch

    from rankwright.model.cross_encoder import CrossEncoder

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    return CrossEncoder(job["folder"], device="cpu", precision=job["precision"])


def peak_memory() -> int | None:
    """Most memory this process has had, in bytes; None where the system does not tell."""
    try:
        # What getrusage says on Linux includes the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(re.findall(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)[0]) * 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def main() -> None:
    """Measures what the argument says."""
    try:
        found = measure(json.loads(sys.argv[1]))
    except RankwrightError as error:
        found = {"error": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
