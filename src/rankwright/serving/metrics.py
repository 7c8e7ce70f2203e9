"""Figures for Prometheus, of one process or summed over several workers.

Several workers use prometheus_client's multiprocess mode: each writes its figures to files of its
own in a folder they share, and whichever is asked adds up all files. The library looks for the
folder's name in `FOLDER_VARIABLE` when it is first imported, so the parent sets it before it
starts workers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from rankwright.serving.batcher import Work

__all__ = ["FOLDER_VARIABLE", "Metrics"]

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters, histograms and gauges of a server process, in a registry of their own.

    Args:
        folder: Where several workers keep their figures together; None for a single process.
            Then `FOLDER_VARIABLE` must have named it before prometheus_client was imported.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._folder = folder
        if folder is not None:
            # Held for as long as this process lives, however it ends: so others can tell.
            self._life = _lock(folder, os.getpid())
            self._life.acquire()
        one: dict[str, Any] = {"registry": self.registry}
        # Of gauges, only those of living workers count; counters must never go down.
        live: dict[str, Any] = {**one, "multiprocess_mode": "livesum"}
        self._requests = Counter(
            "rankwright_requests", "Requests by route and status.", ["route", "status"], **one
        )
        self._seconds = Histogram(
            "rankwright_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, **one
        )
        self._rejected = Counter(
            "rankwright_rejected", "Requests refused for lack of room.", ["reason"], **one
        )
        self._pairs = Counter("rankwright_pairs", "Pairs scored.", **one)
        self._tokens = Counter("rankwright_tokens", "Tokens that went through the model.", **one)
        self._truncated = Counter("rankwright_truncated_pairs", "Pairs that lost tokens.", **one)
        self._pass_seconds = Histogram(
            "rankwright_forward_seconds", "Time of a forward pass.", buckets=SECONDS, **one
        )
        self._pass_tokens = Histogram(
            "rankwright_forward_tokens",
            "Tokens in a forward pass.",
            buckets=[2.0**n for n in range(6, 18)],
            **one,
        )
        self._pass_requests = Histogram(
            "rankwright_forward_requests",
            "Requests that share a forward pass.",
            buckets=[1, 2, 4, 8, 16, 32, 64],
            **one,
        )
        self.running = Gauge("rankwright_running_requests", "Requests being worked on.", **live)
        self._waiting = Gauge("rankwright_waiting_tokens", "Tokens waiting to be scored.", **live)
        self._sources: tuple[Callable[[], float], Callable[[], float]] = (float, float)
        self._speed = Gauge("rankwright_tokens_per_second", "Speed of the model.", **live)

    def watch(self, waiting: Callable[[], float], speed: Callable[[], float]) -> None:
        """Sets where the gauges are read."""
        self._sources = (waiting, speed)

    def refresh(self) -> None:
        """Reads the gauges of this process, so that other workers tell of them too."""
        waiting, speed = self._sources
        self._waiting.set(waiting())
        self._speed.set(speed())

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Counts a refused request."""
        self._rejected.labels(reason).inc()

    def truncated(self, pairs: int) -> None:
        """Counts pairs that lost tokens."""
        self._truncated.inc(pairs)

    def work(self, work: Work) -> None:
        """Counts a forward pass."""
        self._pairs.inc(work.pairs)
        self._tokens.inc(work.tokens)
        self._pass_seconds.observe(work.seconds)
        self._pass_tokens.observe(work.tokens)
        self._pass_requests.observe(work.requests)

    def text(self) -> bytes:
        """All figures in Prometheus's text format, of all workers together."""
        self.refresh()
        if self._folder is None:
            return generate_latest(self.registry)
        _forget_the_dead(self._folder)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(all_workers)


def _lock(folder: Path, pid: int) -> FileLock:
    return FileLock(folder / f"{pid}.lock", thread_local=False)


def _forget_the_dead(folder: Path) -> None:
    """Removes the gauges of workers that ended without a word."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(re.sub(r"\D", "", file.stem.rpartition("_")[2]))
        if pid == os.getpid():
            continue
        try:
            with _lock(folder, pid).acquire(timeout=0):
                mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except Timeout:
            continue  # the worker lives and holds it
