"""Clients that cost next to nothing: one process, one thread, HTTP/1.1 written by hand.

They share the machine with the server they ask, so whatever they burn is missing there.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.work import TOLERANCE, Asked

__all__ = ["Seen", "answer", "ask_once", "crowd", "http", "is_right"]

PATIENCE = 120.0
AFTER_429 = 0.5


@dataclass
class Seen:
    """What clients met.

    Attributes:
        statuses: HTTP statuses; failed connections by the name of their error.
        seconds: Time to every good answer.
        wrong: Good answers with a score that is not the engine's.
        pairs: Pairs in good answers.
        took: Seconds from the first request to the last answer.
        silence: Longest time in which no good answer came to any client.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    pairs: int = 0
    took: float = 0.0
    silence: float = 0.0

    @property
    def broken(self) -> int:
        """Connections that failed before their answer was there."""
        return sum(count for status, count in self.statuses.items() if not status.isdigit())

    def percentile_ms(self, percent: float) -> int | None:
        """Time within which so many per cent of the good answers came; None without any."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        return round(1000 * ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))])


def http(body: Any, path: str = "/score") -> bytes:
    """A whole request."""
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"content-length:")
    length = int(rest.partition(b"\r\n")[0] or 0)
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def is_right(asked: Asked, body: bytes) -> bool:
    """Whether the answer of ``/score`` holds the engine's scores."""
    got = [row["score"] for row in json.loads(body)["data"]]
    return len(got) == len(asked.scores) and all(
        math.isclose(a, b, rel_tol=0, abs_tol=TOLERANCE)
        for a, b in zip(got, asked.scores, strict=True)
    )


async def crowd(
    port: int,
    asked: Sequence[Asked],
    clients: int,
    seconds: float,
) -> Seen:
    """So many clients, each asking again as soon as it has its answer.

    Args:
        port: Of the server.
        asked: What they ask, in turn.
        clients: How many there are.
        seconds: After that, no new request is sent.
    """
    seen, began = Seen(), time.perf_counter()
    last_good = began
    messages = [http(one.body) for one in asked]

    async def client(number: int) -> None:
        nonlocal last_good
        turn, line = number, None
        while time.perf_counter() - began < seconds:
            which = turn % len(asked)
            turn += clients
            sent = time.perf_counter()
            try:
                line = line or await asyncio.open_connection("127.0.0.1", port)
                line[1].write(messages[which])
                status, body = await asyncio.wait_for(answer(line[0]), PATIENCE)
            except (OSError, EOFError, TimeoutError, asyncio.TimeoutError) as error:
                seen.statuses[type(error).__name__] += 1
                if line is not None:
                    line[1].close()
                line = None
                await asyncio.sleep(0.05)
                continue
            seen.statuses[str(status)] += 1
            if status == 200:
                now = time.perf_counter()
                seen.silence, last_good = max(seen.silence, now - last_good), now
                seen.seconds.append(now - sent)
                seen.pairs += len(asked[which].documents)
                seen.wrong += not is_right(asked[which], body)
            elif status == 429:
                await asyncio.sleep(AFTER_429)
        if line is not None:
            line[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    seen.took = time.perf_counter() - began
    return seen


async def ask_once(port: int, message: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        return await asyncio.wait_for(answer(reader), PATIENCE)
    finally:
        writer.close()
