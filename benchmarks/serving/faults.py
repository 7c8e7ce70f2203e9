"""Trouble around the server, while good clients go on asking it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.serving.clients import Seen, crowd, http
from benchmarks.serving.servers import open_files, serving, workers_of
from benchmarks.serving.work import Asked, Served

__all__ = ["half_sent", "killed_worker", "slow_clients"]

CLIENTS = 8
WORKERS = 2
HELD = 16
UNREAD = 4
UNREAD_BYTES = 2_000_000
HALF_A_HEAD = b"POST /score HTTP/1.1\r\nHost: a"


def killed_worker(served: Served, asked: Sequence[Asked], seconds: float) -> dict[str, Any]:
    """One of two workers is killed while clients ask; both must be there again, and no score wrong.

    A connection to the worker that died may break; at most one per client can.
    """
    with serving(served, workers=WORKERS) as server:
        before = workers_of(server.process.pid)

        async def kill() -> None:
            await asyncio.sleep(seconds / 4)
            os.kill(before[0], signal.SIGKILL)

        async def both() -> Seen:
            seen, _ = await asyncio.gather(crowd(server.port, asked, CLIENTS, seconds), kill())
            return seen

        seen = asyncio.run(both())
        released = server.quiet() and server.started_again(WORKERS + 1)
        after = workers_of(server.process.pid)
        last = asyncio.run(crowd(server.port, asked, CLIENTS, seconds / 4))
        faults = server.faults()
    return {
        "workers": WORKERS,
        "statuses": dict(seen.statuses),
        "statuses_afterwards": dict(last.statuses),
        "broken_connections": seen.broken,
        "longest_silence_seconds": round(seen.silence, 2),
        "replaced": len(after) == WORKERS and before[0] not in after,
        "wrong": seen.wrong + last.wrong,
        "tracebacks": faults,
        "passed": len(after) == WORKERS
        and before[0] not in after
        and seen.broken <= CLIENTS
        and {s for s in seen.statuses if s.isdigit()} == {"200"}
        and set(last.statuses) == {"200"}
        and not seen.wrong + last.wrong
        and released
        and not faults,
    }


def slow_clients(
    served: Served, asked: Sequence[Asked], seconds: float, patience: float
) -> dict[str, Any]:
    """Stalled heads and bodies, bodies byte by byte, answers that nobody takes.

    All of these must have lost their connection in the end, and good clients notice nothing.
    ``patience`` is how many seconds the server lets a client stall.
    """
    with serving(served, "--body-seconds", str(patience)) as server:

        async def both() -> tuple[Seen, Counter[str]]:
            stalled = asyncio.gather(
                *(_stalled(server.port, HALF_A_HEAD, patience) for _ in range(HELD)),
                *(_stalled(server.port, _begun(500) + b"{", patience) for _ in range(HELD)),
                *(_dripping(server.port, patience) for _ in range(HELD)),
                *(_unread(server.port, patience) for _ in range(UNREAD)),
            )
            seen = await crowd(server.port, asked, CLIENTS, seconds)
            return seen, Counter(await stalled)

        files = open_files(server.process.pid)
        seen, ends = asyncio.run(both())
        released = server.quiet() and server.closed(files + 2)
        faults = server.faults()
    return {
        "stalled": 3 * HELD + UNREAD,
        "ends": dict(ends),
        "released": released,
        "statuses": dict(seen.statuses),
        "p99_ms": seen.percentile_ms(99),
        "wrong": seen.wrong,
        "tracebacks": faults,
        "passed": set(ends) <= {"408", "cut off"}
        and released
        and set(seen.statuses) == {"200"}
        and not seen.wrong
        and not faults,
    }


def half_sent(served: Served, asked: Sequence[Asked], count: int) -> dict[str, Any]:
    """Connections that end in the middle of a body, some with a reset, some politely."""
    draw = random.Random(0)
    message = http(asked[0].body)
    cuts = [draw.randrange(20, len(message)) for _ in range(count)]
    with serving(served) as server:
        files = open_files(server.process.pid)

        async def leave(cut: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(message[:cut])
            await writer.drain()
            if cut % 2:
                writer.transport.abort()
            writer.close()

        async def everybody() -> Seen:
            good = asyncio.ensure_future(crowd(server.port, asked, CLIENTS, 5))
            for begin in range(0, count, 32):
                await asyncio.gather(*(leave(cut) for cut in cuts[begin : begin + 32]))
            return await good

        seen = asyncio.run(everybody())
        released = server.quiet() and server.closed(files + 2)
        faults = server.faults()
    return {
        "half_sent": count,
        "released": released,
        "statuses": dict(seen.statuses),
        "wrong": seen.wrong,
        "tracebacks": faults,
        "passed": released and set(seen.statuses) == {"200"} and not seen.wrong and not faults,
    }


def _begun(length: int) -> bytes:
    return f"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()


async def _end(reader: asyncio.StreamReader, patience: float) -> str:
    """How the server got rid of a client: a status, or nothing but the end of the connection."""
    try:
        said = await asyncio.wait_for(reader.read(64), 3 * patience + 30)
    except OSError:
        return "cut off"
    except (TimeoutError, asyncio.TimeoutError):
        return "never"
    return said.split(b" ", 2)[1].decode() if said else "cut off"


async def _stalled(port: int, sent: bytes, patience: float) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await _end(reader, patience)
    finally:
        writer.close()


async def _dripping(port: int, patience: float) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_begun(5000))

    async def drip() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.1)

    dripping = asyncio.ensure_future(drip())
    try:
        return await _end(reader, patience)
    finally:
        dripping.cancel()
        writer.close()


async def _unread(port: int, patience: float) -> str:
    """Asks for an answer larger than the system's buffers, and never takes it."""
    document = "x" * UNREAD_BYTES
    body = {"query": "a", "documents": [document], "return_documents": True}
    message = http(body, "/v1/rerank")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, message)
        status = (await loop.sock_recv(client, 12)).split(b" ")[-1]  # the answer is there
        if status != b"200":
            return status.decode()
        await asyncio.sleep(3 * patience + 1)
        got = 0
        try:
            while piece := await asyncio.wait_for(loop.sock_recv(client, 2**20), patience + 30):
                got += len(piece)
                if got >= UNREAD_BYTES:
                    return "served"
        except (TimeoutError, asyncio.TimeoutError):
            return "never"
        except OSError:
            return "cut off"
        return "cut off"
