"""Figures of several workers are those of all of them together."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from rankwright.serving.metrics import FOLDER_VARIABLE, Metrics
from tests.serving.live import until
from tests.serving.test_serve_command import BODY, children, serving, wait

REQUESTS = 24


def figures(address: str) -> dict[str, float]:
    """Every sample by name and labels."""
    text = httpx.get(f"{address}/metrics", timeout=30).text
    return {
        "".join((s.name, *(f" {k}={v}" for k, v in sorted(s.labels.items())))): s.value
        for family in parsed(text)
        for s in family.samples
    }


def answered(found: dict[str, float]) -> float:
    return found.get("rankwright_requests_total route=/v2/rerank status=200", 0)


def test_one_process_keeps_its_figures_to_itself() -> None:
    first, second = Metrics(), Metrics()
    first.watch(lambda: 7, lambda: 9)
    first.request("/score", 200, 0.1)
    assert b'rankwright_requests_total{route="/score",status="200"} 1.0' in first.text()
    assert b"rankwright_waiting_tokens 7.0" in first.text()
    assert b"/score" not in second.text()


@pytest.mark.slow
@pytest.mark.timeout(290)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="worker processes are found through /proc")
def test_two_workers(folder: Path) -> None:
    with serving(folder, "--workers", "2") as (address, process):
        workers = children(process)
        store = Path(variable(workers[0], FOLDER_VARIABLE))
        # Both must have started, and each must have had its share of the requests.
        until(lambda: len(list(store.glob("gauge_livesum_*.db"))) == 2, 90)
        asked = 0
        end = time.monotonic() + 90
        while asked < REQUESTS or len(written_by(store)) < 2:
            assert httpx.post(f"{address}/v2/rerank", json=BODY, timeout=30).status_code == 200
            asked += 1
            assert time.monotonic() < end, "one worker got all requests"
        # Whichever answers, it tells of both; "pid" would tell them apart.
        seen = [figures(address) for _ in range(12)]
        assert {answered(found) for found in seen} == {asked}
        assert {found["rankwright_pairs_total"] for found in seen} == {2 * asked}
        name = "rankwright_request_seconds_count route=/v2/rerank"
        assert {found[name] for found in seen} == {asked}
        assert not any("pid=" in key for found in seen for key in found)
        assert seen[-1]["rankwright_running_requests"] == 0

        # A dead worker's counters stay, its gauges go.
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len(set(children(process)) - set(workers)) == 1, 90)
        wait(address, process)

        def gone() -> bool:
            found = figures(address)
            return answered(found) == asked and not list(store.glob(f"gauge_*_{workers[0]}.db"))

        until(gone, 90)
    assert not store.exists()


def written_by(store: Path) -> set[str]:
    """Workers that have counted a scored pair."""
    return {
        file.stem
        for file in store.glob("counter_*.db")
        if re.search(rb"rankwright_pairs_total", file.read_bytes())
        and b"/v2/rerank" in file.read_bytes()
    }


def variable(pid: int, name: str) -> str:
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key.decode() == name:
            return value.decode()
    raise AssertionError(f"worker {pid} was not told {name}")
