"""`rankwright serve` as a process: it starts, answers, restarts a killed worker, and drains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rankwright import CrossEncoder

BODY = {"query": "sort a list", "documents": ["open the file", "sort"]}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    command = [sys.executable, "-m", "rankwright", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(
        [*command, *options],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(address, process)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait(address: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 150
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(process.stdout.read() if process.stdout else "it ended")
        try:
            if httpx.get(f"{address}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not come up")


def children(process: subprocess.Popen[str]) -> list[int]:
    """Worker processes, told from the resource tracker by what they run."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if folder.name.isdigit() and int(fields[1]) == process.pid and "spawn_main" in line:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
def test_it_answers_and_ends_when_told(folder: Path, model: CrossEncoder) -> None:
    with serving(folder, "--log-queries") as (address, process):
        answer = httpx.post(f"{address}/v2/rerank", json=BODY)
        assert answer.status_code == 200
        assert "playground" in httpx.get(address).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert process.stdout is not None
        log = process.stdout.read()
    assert '"route": "/v2/rerank"' in log
    assert "sort a list" in log
    assert "open the file" not in log


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="worker processes are found through /proc")
def test_a_killed_worker_is_replaced(folder: Path) -> None:
    with serving(folder, "--workers", "2") as (address, process):
        workers = children(process)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        end = time.monotonic() + 150
        while set(children(process)) <= set(workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert len(set(children(process)) - set(workers)) >= 1
        wait(address, process)
        # The dead worker's connections may still be reset; no answer may be wrong.
        good = 0
        for _ in range(20):
            try:
                answer = httpx.post(f"{address}/v2/rerank", json=BODY, timeout=20)
            except httpx.TransportError:
                continue
            assert answer.status_code == 200
            good += 1
        assert good >= 15


def test_mistakes_are_told(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from rankwright.cli.main import app

    for options, word in (
        (["serve", str(tmp_path / "nothing")], "nothing"),
        (["serve", str(folder), "--api-keys", str(tmp_path / "k")], "--api-keys"),
        (["serve", str(folder), "--long-documents", "median"], "median"),
    ):
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 2, result.output
        assert word in result.output
