"""What the server is asked, and what the bare engine makes of it.

Run as a program, this file is the bare engine: a process that scores the same pairs without a
server. It prints their scores, and for every number of seconds it reads, how fast it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.engine import workloads

__all__ = ["TOLERANCE", "Asked", "Bare", "Served", "bare_engine", "read_requests"]

TOLERANCE = 1e-4
"""How far a score may be from the bare engine's: rounding depends on what shares a batch."""


@dataclass(frozen=True)
class Served:
    """A model, and how both the server and the bare engine run it."""

    model: str
    backend: str = "torch"


@dataclass(frozen=True)
class Asked:
    """One request and the scores it must get."""

    query: str
    documents: list[str]
    scores: list[float]

    @property
    def body(self) -> dict[str, Any]:
        """As vLLM's ``/score`` takes it."""
        return {"text_1": self.query, "text_2": self.documents}


def read_requests(count: int, documents: int, sources: Path | None) -> list[tuple[str, list[str]]]:
    """Queries of the code-search work load, each with its function and random others."""
    found = workloads.lists(workloads.read("A", root=sources), count, documents)
    return [(item.query, item.documents) for item in found]


class Bare:
    """The bare engine, waiting in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], requests: list[tuple[str, list[str]]]):
        self._process = process
        scores = iter(self._said()["scores"])
        self.asked = [
            Asked(query, documents, [next(scores) for _ in documents])
            for query, documents in requests
        ]

    def rate(self, seconds: float) -> float:
        """Pairs per second over at least so long, in whole rounds of all pairs."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._said()["pairs_per_second"])

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The bare engine ended with exit code {self._process.wait()}.")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def bare_engine(served: Served, requests: list[tuple[str, list[str]]]) -> Iterator[Bare]:
    """Starts the bare engine and stops it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests.json"
        file.write_text(json.dumps(requests), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).resolve())]
        process = subprocess.Popen(
            [*command, served.model, served.backend, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Bare(process, requests)
        finally:
            process.kill()
            process.communicate()


def _engine(served: Served) -> Any:
    if served.backend == "torch":
        from rankwright import CrossEncoder

        return CrossEncoder(served.model, precision="auto")
    from rankwright import Reranker

    return Reranker(served.model, backend=served.backend)


def _main() -> None:
    model, backend, file = sys.argv[1:]
    requests = json.loads(Path(file).read_text(encoding="utf-8"))
    pairs = [(query, document) for query, documents in requests for document in documents]
    if len(set(map(tuple, pairs))) != len(pairs):
        raise SystemExit("The work load holds a pair twice, which would be scored once.")
    engine = _engine(Served(model, backend))
    print(json.dumps({"scores": engine.predict(pairs).tolist()}), flush=True)
    for line in sys.stdin:
        began, rounds = time.perf_counter(), 0
        while not rounds or time.perf_counter() - began < float(line):
            engine.predict(pairs)
            rounds += 1
        rate = rounds * len(pairs) / (time.perf_counter() - began)
        print(json.dumps({"pairs_per_second": rate}), flush=True)


if __name__ == "__main__":
    _main()
