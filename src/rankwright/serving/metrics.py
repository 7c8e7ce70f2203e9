"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rankwright.serving.batcher import Work

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and histograms of one server process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        one: dict[str, Any] = {"registry": self.registry}
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
        self.running = Gauge("rankwright_running_requests", "Requests being worked on.", **one)
        self._waiting = Gauge("rankwright_waiting_tokens", "Tokens waiting to be scored.", **one)
        self._speed = Gauge("rankwright_tokens_per_second", "Speed of the model.", **one)

    def watch(self, waiting: Callable[[], float], speed: Callable[[], float]) -> None:
        """Sets where the gauges are read."""
        self._waiting.set_function(waiting)
        self._speed.set_function(speed)

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
        """All figures in Prometheus's text format."""
        return generate_latest(self.registry)
