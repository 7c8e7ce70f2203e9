"""Measures exported rerankers beside Sentence Transformers and plain loops, row by row.

.venv/bin/python benchmarks/deploy/run.py --data DIR
.venv/bin/python benchmarks/deploy/table.py

DIR holds nl2bash as a folder in BEIR's layout. Every row is written as soon as it is measured; with
--resume, rows that are there are skipped.
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
from benchmarks.deploy.bench import Bench
from benchmarks.deploy.candidates import CANDIDATES, Candidate
from benchmarks.deploy.environments import ONNX_NOTE, python_of
from benchmarks.deploy.settings import QUICK, Settings
from benchmarks.engine.results import Results, measure_rows

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "benchmarks" / "results" / "deploy.json"
WORK = ROOT / "build" / "deploy-benchmark"
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder that holds nl2bash; default: code search")
    parser.add_argument("--rows", help="ids, separated by commas; default: all")
    parser.add_argument("--repeats", type=int, help="turns of each row; default 3")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that everything works")
    parser.add_argument("--resume", action="store_true", help="skip rows that were measured")
    parser.add_argument("--prepare", action="store_true", help="only train and export")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--work", type=Path, default=WORK, help="folder for models and logs")
    for name in ("peer", "peer-openvino"):
        parser.add_argument(f"--{name}-python", type=Path, help="instead of an environment made")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    given = parser.parse_args()
    if given.quick and given.output == OUTPUT:
        parser.error("--quick gives figures that mean nothing: name another file with --output")
    return given


def chosen(names: str | None) -> list[Candidate]:
    """The rows of these ids.

    Raises:
        SystemExit: An id that no row has.
    """
    if names is None:
        return list(CANDIDATES)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {candidate.name for candidate in CANDIDATES}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"'{name}' is no row: {', '.join(sorted(known))}")
    return [candidate for candidate in CANDIDATES if candidate.name in wanted]


def features() -> list[str]:
    """Which of the instructions that decide the speed of 8 and 16 bits are there (Linux)."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return [name for name in FEATURES if name in flags]


def header(bench: Bench, given: argparse.Namespace) -> dict[str, Any]:
    """What every figure depends on."""
    return {
        "machine": {**machine(), "features": features()},
        "versions": {name: bench.versions(name) for name in ("ours", "peer")},
        "quick": given.quick,
        "settings": asdict(bench.settings),
        "judged_on": "code search" if given.data is None else "nl2bash",
        "note": ONNX_NOTE,
    }


class Work:
    """The rows of this benchmark, for `measure_rows`."""

    def __init__(self, bench: Bench) -> None:
        self.measure = bench.measure
        self.close = bench.close

    def needs(self, row: Candidate) -> str | None:
        """Nothing: without data, rankings of code search are judged."""
        return None

    def told(self, found: dict[str, Any]) -> str:
        """The speed."""
        return f"{found['pairs_per_second']['median']:.1f} pairs/s, "


def main() -> None:
    """Sets everything up and measures."""
    given = arguments()
    rows = chosen(given.rows)
    if given.list:
        print("\n".join(row.name for row in rows))
        return
    settings = replace(Settings(), **(QUICK if given.quick else {}))
    if given.repeats:
        settings = replace(settings, repeats=given.repeats)
    work = given.work.absolute() / ("quick" if given.quick else "full")
    pythons = {"peer": given.peer_python, "peer-openvino": given.peer_openvino_python}

    def python(name: str) -> Path:
        # Not resolved: a virtual environment's Python is a link.
        named = pythons.get(name)
        return python_of(name) if named is None else named.absolute()

    bench = Bench(settings, work, given.data and given.data.absolute(), given.quick, python)
    bench.prepare()
    if given.prepare:
        return
    results = Results(given.output, header(bench, given))
    measure_rows(results, rows, Work(bench), given.resume)


if __name__ == "__main__":
    main()
