"""Memory over many minutes of everything that clients do.

The server keeps freed memory for its next passes and gives it back twice a minute, so what it
holds goes up and down. A leak is what it cannot give back: the least of every minute must not grow.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from statistics import linear_regression, mean
from typing import Any

from benchmarks.serving.clients import answer, crowd, http, is_right
from benchmarks.serving.servers import Server, resident_mib, serving
from benchmarks.serving.work import Asked, Served

__all__ = ["leaks", "least", "slope"]

CLIENTS = 4
EVERY = 0.25
WINDOW = 60.0
"""Seconds of which the least counts: the server gives back what is free within them."""
LIMIT = 1.0
"""MiB per minute that memory may seem to grow: it moves by more from one sample to the next."""
FILL_TEXTS, FILL_WORDS, FILL_REQUESTS = 1000, 400, 50
"""Texts enough for the 64 MiB in which the server remembers token ids."""


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """MiB per minute, by least squares, of (seconds, MiB)."""
    return 60 * float(linear_regression(*zip(*samples, strict=True)).slope)


def least(samples: Sequence[tuple[float, float]], window: float) -> list[tuple[float, float]]:
    """Of each whole window of seconds, its middle and the least MiB of (seconds, MiB) in it.

    The last window may be a few samples short.
    """
    count = max(1, round(samples[-1][0] / window))
    found = []
    for number in range(count):
        inside = [mib for at, mib in samples if window * number <= at < window * (number + 1)]
        if inside:
            found.append(((number + 0.5) * window, min(inside)))
    return found


async def _fill(port: int, requests: int) -> None:
    """Fills the cache of token ids, whose growth up to its bound is no leak.

    Each request's deadline has passed once its texts are tokens, so nothing is scored.
    """
    draw = random.Random(1)
    for number in range(requests):
        texts = [
            " ".join(f"{number} {draw.randrange(10**6)}" for _ in range(FILL_WORDS // 4))
            for _ in range(FILL_TEXTS)
        ]
        await _once(port, http({"text_1": "fill", "text_2": texts, "deadline_ms": 1}))


async def _once(port: int, message: bytes, read: bool = True) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        await writer.drain()
        return await asyncio.wait_for(answer(reader), 120) if read else (0, b"")
    finally:
        writer.close()


class _Mixed:
    """Clients of every kind, one request after the other."""

    def __init__(self, port: int, asked: Sequence[Asked]) -> None:
        self.port = port
        self.asked = asked
        self.statuses: Counter[str] = Counter()
        self.wrong = 0
        self._turn = itertools.count()

    async def client(self, end: float) -> None:
        """Goes on until the time is over."""
        while time.monotonic() < end:
            await self._next(next(self._turn))

    async def _next(self, turn: int) -> None:
        kinds = (self._scored, self._new, self._long, self._invalid, self._late, self._leaving)
        await kinds[turn % len(kinds)](turn)

    async def _scored(self, turn: int) -> None:
        asked = self.asked[turn % len(self.asked)]
        status, body = await _once(self.port, http(asked.body))
        self.statuses[str(status)] += 1
        self.wrong += status != 200 or not is_right(asked, body)

    async def _told(self, body: Any, path: str) -> None:
        status, _ = await _once(self.port, http(body, path))
        self.statuses[str(status)] += 1

    async def _new(self, turn: int) -> None:
        texts = [f"{turn} {text}" for text in self.asked[turn % len(self.asked)].documents[:5]]
        await self._told({"query": f"query {turn}", "documents": texts}, "/v2/rerank")

    async def _long(self, turn: int) -> None:
        text = f"{turn} " + " ".join(self.asked[turn % len(self.asked)].documents[:3])
        body = {"query": "q", "documents": [text], "long_documents": "max"}
        await self._told({**body, "relevant_spans": {"mode": "enabled"}}, "/v1/rerank")

    async def _invalid(self, turn: int) -> None:
        await self._told({"query": turn, "texts": [None]}, "/rerank")

    async def _late(self, turn: int) -> None:
        body = {"text_1": f"late {turn}", "text_2": ["text"] * 20, "deadline_ms": 1}
        await self._told(body, "/score")

    async def _leaving(self, turn: int) -> None:
        message = http(self.asked[turn % len(self.asked)].body)
        await _once(self.port, message[: len(message) // (1 + turn % 2)], read=False)
        self.statuses["left"] += 1


async def _watched(
    server: Server, mixed: _Mixed, seconds: float, samples: list[tuple[float, float]]
) -> None:
    began = time.monotonic()

    async def watch() -> None:
        while True:
            now = time.monotonic() - began
            samples.append((round(now, 2), round(resident_mib(server.process.pid), 2)))
            await asyncio.sleep(min(EVERY, seconds / 8))

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(mixed.client(began + seconds) for _ in range(CLIENTS)))
    watching.cancel()


def leaks(served: Served, asked: Sequence[Asked], seconds: float) -> dict[str, Any]:
    """Mixed traffic for so long, after a tenth of it as a warm-up; memory must stay where it is."""
    samples: list[tuple[float, float]] = []
    with serving(served) as server:
        short = seconds < 60
        asyncio.run(_fill(server.port, 1 if short else FILL_REQUESTS))
        asyncio.run(crowd(server.port, asked, 4 * CLIENTS, seconds / 10))
        mixed = _Mixed(server.port, asked)
        asyncio.run(_watched(server, mixed, seconds / 10, []))
        asyncio.run(_watched(server, mixed, seconds, samples))
        released = server.quiet()
        faults = server.faults()
    lows = least(samples, min(WINDOW, seconds / 4))
    third = max(1, len(lows) // 3)
    grows = slope(lows)
    return {
        "seconds": seconds,
        "least_mib": lows,
        "most_mib": max(mib for _, mib in samples),
        "mib_per_minute": round(grows, 3),
        "limit_mib_per_minute": LIMIT,
        "first_third_mib": round(mean(mib for _, mib in lows[:third]), 1),
        "last_third_mib": round(mean(mib for _, mib in lows[-third:]), 1),
        "statuses": dict(mixed.statuses),
        "wrong": mixed.wrong,
        "released": released,
        "tracebacks": faults,
        # A slope over seconds says nothing; such runs only show that the program works.
        "passed": (short or grows <= LIMIT) and released and not mixed.wrong and not faults,
    }
