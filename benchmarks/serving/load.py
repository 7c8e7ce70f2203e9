"""The server under load, and what it does when things go wrong around it.

.venv/bin/python benchmarks/serving/load.py --seconds 60 --clients 64

Scores code-search requests over HTTP from many clients at once and compares the rate with the same
pairs put straight through the engine; then kills a worker, keeps half-sent and slow requests open,
and checks that every answer is still right. Figures go to benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.demo import machine  # noqa: E402
from benchmarks.engine import workloads  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
DOCUMENTS = 20
TOLERANCE = 1e-4

Request = tuple[str, list[str]]


@dataclass
class Seen:
    """What clients met."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    pairs: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def requests(count: int) -> list[Request]:
    """Queries of the code-search work load with twenty documents each."""
    pairs = workloads.pairs(workloads.read("A"), count * 4)
    documents = [document for _, document, _ in pairs]
    queries = list(dict.fromkeys(query for query, _, _ in pairs))[:count]
    return [
        (query, [documents[(i * 7 + j * 13) % len(documents)] for j in range(DOCUMENTS)])
        for i, query in enumerate(queries)
    ]


def bare(model: str, asked: list[Request], seconds: float) -> tuple[float, list[list[float]]]:
    """Pairs per second straight through the engine, and every request's scores."""
    from rankwright import CrossEncoder

    engine = CrossEncoder(model, precision="auto")
    flat = [(query, document) for query, documents in asked for document in documents]
    engine.predict(flat[:64])
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or not rounds:
        scores = engine.predict(flat)
        rounds += 1
    rate = rounds * len(set(flat)) / (time.perf_counter() - began)
    return rate, scores.reshape(len(asked), DOCUMENTS).tolist()


@contextmanager
def serving(model: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The server as a process on a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    command = [sys.executable, "-m", "rankwright", "serve", model, "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            if process.poll() is not None:
                raise SystemExit(f"The server ended with exit code {process.returncode}.")
            time.sleep(0.2)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)


def is_ready(port: int) -> bool:
    """Whether the server takes requests."""
    try:
        return call(port, "GET", "/ready", None)[0] == 200
    except (OSError, HTTPException):
        return False


def call(port: int, method: str, path: str, body: Any) -> tuple[int, Any]:
    """One request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def ask(port: int, request: Request, expected: list[float], seen: Seen) -> None:
    """One scoring request; its scores are compared with the engine's."""
    query, documents = request
    began = time.perf_counter()
    try:
        status, told = call(port, "POST", "/score", {"text_1": query, "text_2": documents})
    except (OSError, HTTPException, ValueError) as error:
        with seen.lock:
            seen.statuses[type(error).__name__] += 1
        return
    took = time.perf_counter() - began
    with seen.lock:
        seen.statuses[str(status)] += 1
        if status == 200:
            seen.seconds.append(took)
            seen.pairs += len(documents)
            got = [row["score"] for row in told["data"]]
            seen.wrong += any(abs(a - b) > TOLERANCE for a, b in zip(got, expected, strict=True))
    if status == 429:
        time.sleep(0.5)


def load(
    port: int, asked: list[Request], expected: list[list[float]], clients: int, seconds: float
) -> tuple[Seen, float]:
    """So many clients, each asking again as soon as it has its answer."""
    seen, end = Seen(), time.perf_counter() + seconds

    def client(number: int) -> None:
        turn = number
        while time.perf_counter() < end:
            which = turn % len(asked)
            ask(port, asked[which], expected[which], seen)
            turn += clients

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen, time.perf_counter() - began


def resident_mib(pid: int) -> float | None:
    """Memory of a process, where the system tells."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), None)


def workers_of(pid: int) -> list[int]:
    """Worker processes of a server with several."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and "spawn_main" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def under_load(options: argparse.Namespace) -> dict[str, Any]:
    """The row of figures under load."""
    asked = requests(options.requests)
    rate, expected = bare(options.model, asked, options.seconds / 2)
    with serving(options.model) as (port, process):
        load(port, asked, expected, options.clients, min(5.0, options.seconds))
        before = resident_mib(process.pid)
        seen, took = load(port, asked, expected, options.clients, options.seconds)
        after = resident_mib(process.pid)
    cuts = quantiles(seen.seconds, n=100)
    served = seen.pairs / took
    return {
        "clients": options.clients,
        "seconds": round(took, 1),
        "documents_per_request": DOCUMENTS,
        "statuses": dict(seen.statuses),
        "wrong": seen.wrong,
        "pairs_per_second": round(served, 1),
        "bare_pairs_per_second": round(rate, 1),
        "share_of_bare": round(served / rate, 3),
        "p50_ms": round(1000 * cuts[49]),
        "p95_ms": round(1000 * cuts[94]),
        "p99_ms": round(1000 * cuts[98]),
        "resident_mib_before": before and round(before),
        "resident_mib_after": after and round(after),
    }


def faults(options: argparse.Namespace) -> dict[str, Any]:
    """Requests while a worker is killed and bad clients hold connections."""
    asked = requests(32)
    _, expected = bare(options.model, asked, 0)
    held: list[socket.socket] = []
    with serving(options.model, "--workers", "2") as (port, process):
        for _ in range(16):  # half of a body, then nothing
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
            held.append(connection)
        killer = threading.Timer(
            options.fault_seconds / 3, lambda: os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        )
        killer.start()
        seen, _ = load(port, asked, expected, 8, options.fault_seconds)
        killer.join()
        for connection in held:
            connection.close()
        alive = len(workers_of(process.pid))
        last, _ = load(port, asked, expected, 2, 3)
    return {
        "statuses": dict(seen.statuses),
        "wrong": seen.wrong + last.wrong,
        "workers_after_kill": alive,
        "statuses_afterwards": dict(last.statuses),
    }


def main() -> None:
    """Runs both parts and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=None, help="folder; left out: MiniLM, not trained")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--fault-seconds", type=float, default=30)
    parser.add_argument("--requests", type=int, default=64, help="how many different ones")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.model = options.model or _untrained(folder)
        found = _measured(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.output.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    temporary.replace(options.output)
    print(json.dumps({key: found[key] for key in ("load", "faults")}, indent=2))


def _untrained(folder: str) -> str:
    """MiniLM with a head that is the same in every process: speed does not depend on training."""
    from rankwright import CrossEncoder
    from rankwright.recipes.demo import minilm_folder

    CrossEncoder(minilm_folder(), num_labels=1).save_pretrained(folder, create_model_card=False)
    return folder


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "packages": {name: version(name) for name in ("rankwright", "torch", "uvicorn", "fastapi")},
        "load": under_load(options),
        "faults": faults(options),
    }


if __name__ == "__main__":
    main()
