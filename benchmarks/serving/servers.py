"""The server as a process, and what the system tells about it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from benchmarks.serving.work import Served

__all__ = ["Server", "open_files", "resident_mib", "serving", "workers_of"]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def figure(self, name: str) -> float:
        """The sum of a figure over its labels, from ``/metrics``."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def quiet(self, seconds: float = 60) -> bool:
        """Waits until no request is being worked on; whether that came to be."""
        end = time.monotonic() + seconds
        while self.figure("rankwright_running_requests"):
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def closed(self, files: int, seconds: float = 30) -> bool:
        """Waits until it holds no more files and connections open; whether that came to be."""
        end = time.monotonic() + seconds
        while open_files(self.process.pid) > files:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def started(self) -> int:
        """How many workers have started so far, those that ended included."""
        said = self.log.read_text(encoding="utf-8", errors="replace")
        return said.count("Application startup complete")

    def started_again(self, starts: int, seconds: float = 120) -> bool:
        """Waits until so many workers have started in all; whether that came to be."""
        end = time.monotonic() + seconds
        while self.started() < starts:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def faults(self) -> int:
        """Tracebacks in its log."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("Traceback")

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None


@contextmanager
def serving(served: Served, *options: str, workers: int = 1) -> Iterator[Server]:
    """Serves a model on a free port; the log goes to a file."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    command = [sys.executable, "-m", "rankwright", "serve", served.model, "--port", str(port)]
    command += ["--backend", served.backend, "--workers", str(workers), *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out)
        server = Server(port, process, log)
        try:
            _wait(server, workers)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: Server, workers: int, seconds: float = 300) -> None:
    """Waits until every worker takes requests."""
    end = time.monotonic() + seconds
    while server.started() < workers:
        if not server.alive() or time.monotonic() > end:
            said = server.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise SystemExit(f"The server did not start: {said}")
        time.sleep(0.1)


def resident_mib(pid: int) -> float:
    """Memory of a process that is in use, as Linux tells."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0


def open_files(pid: int) -> int:
    """Files and connections a process holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


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
