"""`rankwright bench`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rankwright.cli.export import Threads
from rankwright.cli.screen import Debug, Json, Quiet, open_screen

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of a model.")],
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", min=0.01, help="How long to measure throughput, and latency, of each."
        ),
    ] = 3.0,
    threads: Threads = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record/--no-record",
            help="Write the speeds to the model's exports.json, by which Reranker chooses.",
        ),
    ] = True,
    json_output: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure every backend and precision of a model on this machine.

    Each is measured in a process of its own on the model's golden pairs: pairs per second, the time
    to rank one query's documents (median and 95th percentile), start-up from starting Python to the
    first scores, size on disk, and peak memory.

    Examples:

      rankwright bench my-reranker

      rankwright bench my-reranker --seconds 10 --threads 1 --json > bench.json
    """
    with open_screen(json_output, quiet, debug) as screen:
        from rankwright.export.bench import BenchOptions, bench_model

        found = bench_model(model, BenchOptions(seconds, threads, record))
        table = Table(
            title=Text(f"{found.machine}; {found.documents:g} documents per query"),
            title_justify="left",
        )
        table.add_column("backend")
        for name in ("pairs/s", "p50 ms", "p95 ms", "start s", "MiB", "memory MiB"):
            table.add_column(name, justify="right")
        digits = (0, 1, 1, 2)
        for row in found.rows:
            numbers = (row.pairs_per_second, row.p50_ms, row.p95_ms, row.start_seconds)
            memory = "" if row.peak_memory is None else f"{row.peak_memory / 2**20:,.0f}"
            table.add_row(
                Text(f"{row.backend} {row.precision}"),
                *("" if x is None else f"{x:,.{d}f}" for x, d in zip(numbers, digits, strict=True)),
                f"{row.size / 2**20:,.1f}",
                memory,
            )
        notes = [f"{row.backend} {row.precision}: {row.error}" for row in found.rows if row.error]
        screen.result(found.to_dict(), table, *notes)
