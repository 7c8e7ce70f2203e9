"""The load program: it finds what is wrong, and its page follows its file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.serving import clients, leak, table
from benchmarks.serving.work import Asked

ROOT = Path(__file__).resolve().parent.parent.parent
ASKED = Asked("a", ["b", "c"], [0.25, 0.5])


def answer(*scores: float) -> bytes:
    return json.dumps({"data": [{"score": score} for score in scores]}).encode()


def test_a_wrong_score_is_noticed() -> None:
    assert clients.is_right(ASKED, answer(0.25, 0.50005))
    for wrong in (answer(0.25, 0.51), answer(0.5, 0.25), answer(0.25), answer(0.25, float("nan"))):
        assert not clients.is_right(ASKED, wrong)


def test_the_crowd_counts_what_it_meets() -> None:
    """Against a server of five lines: good, wrong, refused, and a connection that breaks."""
    turn = iter(range(10**9))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return writer.close()
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length)) == ASKED.body
            kind = next(turn) % 4
            if kind == 3:
                return writer.close()
            status = 429 if kind == 2 else 200
            body = answer(0.25, 0.5 if kind == 0 else 0.6)
            writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)

    async def both() -> clients.Seen:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await clients.crowd(server.sockets[0].getsockname()[1], [ASKED], 3, 1.5)

    seen = asyncio.run(both())
    good = seen.statuses["200"]
    assert set(seen.statuses) == {"200", "429", "IncompleteReadError"}
    assert good > 4
    assert abs(seen.wrong - good / 2) <= 1
    assert seen.pairs == 2 * good
    assert seen.broken == seen.statuses["IncompleteReadError"] > 0
    assert len(seen.seconds) == good
    assert 0 < seen.silence < seen.took


def test_percentiles() -> None:
    seen = clients.Seen(seconds=[n / 1000 for n in range(100, 0, -1)])
    assert (seen.percentile_ms(50), seen.percentile_ms(99)) == (51, 100)
    assert clients.Seen().percentile_ms(99) is None


def test_slope_of_memory() -> None:
    assert leak.slope([(t, 400 + t / 30) for t in range(0, 600, 3)]) == pytest.approx(2)
    assert leak.slope([(t, 400.0) for t in range(0, 600, 3)]) == 0


def test_only_the_least_of_every_minute_counts() -> None:
    # What is given back twice a minute is no leak, however much there is of it.
    kept = [(t, 400.0 + 10 * (t % 30) + t) for t in range(600)]
    assert leak.least(kept, 60) == [(60 * n + 30, 400.0 + 60 * n) for n in range(10)]
    assert leak.slope(leak.least([(t, 400 + t % 30) for t in range(600)], 60)) == 0
    assert leak.slope(leak.least([(t, 400 + t % 30 + t / 30) for t in range(600)], 60)) > 1.9


def rows() -> dict[str, Any]:
    common = {"wrong": 0, "passed": True, "date": "2026-01-02", "statuses": {"200": 2500}}
    load = {
        "clients": 64, "seconds": [61.0, 60.5], "bare_pairs_per_second": [100, 100, 100],
        "pairs_per_second": [93.0, 95.0], "share_of_bare": 0.94, "p50_ms": 900, "p99_ms": 1500,
    }  # fmt: skip
    half = {"half_sent": 1000, "released": True, "wrong": 3, "passed": False}
    return {"load": {**common, **load}, "half": {**common, **half}}


def test_the_table_says_what_the_file_says() -> None:
    machine = {"cpu": "A processor", "cores": 2}
    results = {
        "model": "a model", "backend": "torch", "machine": machine, "plan": {"documents": 20},
        "rows": rows(),
    }  # fmt: skip
    lines = table.render(results).splitlines()
    assert lines[2] == (
        "| 64 clients, 2 times 60 s | 2,500 × 200; 94.0 pairs/s, 94 % of the bare engine's 100.0; "
        "half of the answers within 0.9 s, 99 % within 1.5 s | 0 | yes |"
    )
    assert lines[3].endswith("everything released; the others 2,500 × 200 | 3 | **no** |")
    assert "A processor (2 cores), 2026-01-02." in lines[-1]
    with pytest.raises(SystemExit, match="No stage"):
        table.render({**results, "rows": {}})


def test_the_page_is_up_to_date() -> None:
    if not table.RESULTS.is_file():
        assert f"<!-- {table.TABLE}:begin -->" in table.PAGE.read_text("utf-8")
        pytest.skip("benchmarks/results/serving.json is not there: it was not measured yet")
    results = json.loads(table.RESULTS.read_text("utf-8"))
    assert table.render(results) in table.PAGE.read_text("utf-8")
    assert all(row["passed"] for row in results["rows"].values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="it reads /proc")
def test_the_stages_quickly(folder: Path, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for number in range(300):
        text = (
            f'def f{number}(x):\n    """Return the row of item {number}."""\n    return {number}\n'
        )
        (sources / f"module_{number}.py").write_text(text, "utf-8")
    output = tmp_path / "serving.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "serving" / "load.py"), "--quick"]
    command += ["--model", str(folder), "--sources", str(sources), "--output", str(output)]
    # Not "kill", which loads three more models: test_serve_command.py kills a worker too.
    stages = ["half", "load", "slow", "fuzz", "leak"]
    for options in (["--stages", "half"], ["--resume", "--stages", *stages]):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(output.read_text("utf-8"))
    assert list(results["rows"]) == stages
    assert all(row["passed"] for row in results["rows"].values())
    assert results["rows"]["fuzz"]["requests"] == 100
    assert results["rows"]["slow"]["ends"] == {"408": 48, "cut off": 4}
    assert table.render(results).count("| yes |") == 5
