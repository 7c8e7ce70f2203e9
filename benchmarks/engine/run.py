"""Measures Rankwright's engine beside Sentence Transformers', row by row.

.venv/bin/python benchmarks/engine/run.py --data DIR --repeats 5
.venv/bin/python benchmarks/engine/render.py

Every row is written as soon as it is measured; with --resume, rows that are there are skipped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.demo import machine
from benchmarks.engine import workloads
from benchmarks.engine.bench import Bench
from benchmarks.engine.client import Client, peer_python
from benchmarks.engine.results import Results, measure_rows
from benchmarks.engine.rows import GROUPS, ROWS, Row
from benchmarks.engine.settings import QUICK, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "benchmarks" / "results" / "engine.json"
WORK = ROOT / "build" / "engine-benchmark"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder that holds nl2bash and medquad (B, C)")
    parser.add_argument(
        "--rows",
        default=",".join(GROUPS),
        help=f"groups ({', '.join(GROUPS)}) or single rows, separated by commas; default: all",
    )
    parser.add_argument("--repeats", type=int, help="times each side is measured; default 5")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that everything works")
    parser.add_argument("--resume", action="store_true", help="skip rows that were measured")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--work", type=Path, default=WORK, help="folder for texts and logs")
    parser.add_argument(
        "--peer-python",
        type=Path,
        help="a Python that has Sentence Transformers; default: .venv-peer, made on first use",
    )
    parser.add_argument("--list", action="store_true", help="only name the rows")
    given = parser.parse_args()
    if given.quick and given.output == OUTPUT:
        parser.error("--quick gives figures that mean nothing: name another file with --output")
    return given


def chosen_rows(names: str) -> list[Row]:
    """The rows of these groups or ids.

    Raises:
        SystemExit: A name that is neither.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {*GROUPS, *(row.name for row in ROWS)}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"'{name}' is neither a group nor a row: {', '.join(sorted(known))}")
    return [row for row in ROWS if row.name in wanted or row.group in wanted]


def header(bench: Bench, given: argparse.Namespace) -> dict[str, Any]:
    """What every figure depends on."""
    versions = {}
    for library in ("ours", "peer"):
        client = bench.fresh(library)
        try:
            versions[library] = client.ask("versions")
        finally:
            client.close()
    work = workloads.pairs(bench.read("A"), bench.settings.predict_pairs)
    return {
        "machine": machine(),
        "versions": versions,
        "quick": given.quick,
        "settings": asdict(bench.settings),
        "texts_of_a": workloads.fingerprint(work),
    }


class Work:
    """The rows of this benchmark, for `measure_rows`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.close = bench.close

    def needs(self, row: Row) -> str | None:
        """What is missing to measure a row."""
        return "--data" if row.needs_data and self.bench.data is None else None

    def measure(self, row: Row) -> dict[str, Any]:
        """A row's figures."""
        return row.measure(self.bench)

    def told(self, found: dict[str, Any]) -> str:
        """The ratio."""
        ratio = found.get("ratio")
        return "" if ratio is None else f"{ratio:.2f} times as good, "


def main() -> None:
    """Sets everything up and measures."""
    given = arguments()
    rows = chosen_rows(given.rows)
    if given.list:
        print("\n".join(row.name for row in rows))
        return
    # Not resolved: a virtual environment's Python is a link.
    pythons = {"ours": sys.executable, "peer": (given.peer_python or peer_python()).absolute()}
    settings = replace(Settings(), **(QUICK if given.quick else {}))
    if given.repeats:
        settings = replace(settings, repeats=given.repeats)
    work = given.work.absolute() / ("quick" if given.quick else "full")

    def fresh(library: str) -> Client:
        return Client(library, pythons[library], work / f"{library}.log")

    bench = Bench(settings, work, given.data and given.data.absolute(), fresh)
    results = Results(given.output, header(bench, given))
    measure_rows(results, rows, Work(bench), given.resume)


if __name__ == "__main__":
    main()
