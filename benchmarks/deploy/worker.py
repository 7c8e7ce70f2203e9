"""What all workers answer to. Imports nothing that a machine for deployment would not have."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from benchmarks.engine.memory import peak_mib
from benchmarks.engine.worker import read_rows

__all__ = ["Worker"]

PACKAGES = (
    "rankwright",
    "sentence-transformers",
    "torch",
    "transformers",
    "optimum-intel",
    "onnxruntime",
    "openvino",
    "nncf",
    "tokenizers",
    "numpy",
)

Pairs = list[tuple[str, str]]


class Worker:
    """One way of scoring. Commands are the methods called ``do_…``."""

    def load(self, **options: Any) -> None:
        """Loads the model."""
        raise NotImplementedError

    def scores(self, pairs: Pairs, batch: int | None) -> Any:
        """Logits ``(P,)``; ``batch`` None is the default."""
        raise NotImplementedError

    def rank(self, query: str, documents: list[str], batch: int | None) -> None:
        """Sorts documents; by default from the scores of the pairs."""
        scores = np.asarray(self.scores([(query, text) for text in documents], batch))
        np.argsort(-scores.reshape(len(documents)), kind="stable").tolist()

    def do_load(self, **options: Any) -> dict[str, Any]:
        """Loads, and scores one pair."""
        self.load(**options)
        self.scores([("how do i sort a list", "return sorted(rows, key=len)")], None)
        return {}

    def do_versions(self) -> dict[str, Any]:
        """What is installed here."""
        found = {}
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return {"versions": found}

    def do_predict(
        self, file: str, count: int | None = None, batch: int | None = None, output: str = ""
    ) -> dict[str, Any]:
        """Scores the first pairs of a file, and writes the scores to ``output`` if it is named."""
        pairs = [(query, text) for query, text, *_ in read_rows(file)[:count]]
        started = time.perf_counter()
        scores = self.scores(pairs, batch)
        seconds = time.perf_counter() - started
        values = np.asarray(scores, dtype=np.float32).reshape(len(pairs))
        if output:
            np.save(output, values)
        return {"pairs_per_second": len(pairs) / seconds}

    def do_rank(self, file: str, batch: int | None = None) -> dict[str, Any]:
        """Milliseconds per query, one after the other."""
        latencies = []
        for query, documents in read_rows(file):
            started = time.perf_counter()
            self.rank(query, documents, batch)
            latencies.append(1000 * (time.perf_counter() - started))
        return {"latencies": latencies}

    def do_peak(self) -> dict[str, Any]:
        """The most memory that this process has had."""
        return {"mib": peak_mib()}
