"""The file with all figures, written after every row."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from benchmarks.engine.client import WorkerError

__all__ = ["Results", "Rows", "commit", "compared", "measure_rows", "summary"]

ROOT = Path(__file__).resolve().parent.parent.parent


class Results:
    """Rows by id under a header that says what they depend on.

    Args:
        path: The JSON file.
        header: Machine, versions and settings. Rows of a file with another header are dropped:
            figures of two machines must not stand in one table.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.header = json.loads(json.dumps(header))  # as it comes back from the file
        self.rows: dict[str, dict[str, Any]] = {}
        self.skipped: dict[str, str] = {}
        self.dropped = False
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            self.dropped = {key: before.get(key) for key in self.header} != self.header
            if not self.dropped:
                self.rows = before["rows"]

    def put(self, name: str, row: dict[str, Any]) -> None:
        """Adds or replaces a row and writes the file."""
        stamp = {"date": datetime.now(timezone.utc).date().isoformat(), "commit": commit()}
        self.rows[name] = {**row, **stamp}
        self.skipped.pop(name, None)
        self.write()

    def write(self) -> None:
        """Writes the whole file, at once or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {**self.header, "rows": self.rows, "skipped": self.skipped}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        temporary = self.path.with_name(f".{self.path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path)


class Named(Protocol):
    """A row that can be measured."""

    @property
    def name(self) -> str:
        """Its id."""


class Rows(Protocol):
    """What `measure_rows` asks of a benchmark."""

    def needs(self, row: Any) -> str | None:
        """What is missing to measure a row; None if nothing is."""

    def measure(self, row: Any) -> dict[str, Any]:
        """A row's figures."""

    def told(self, found: dict[str, Any]) -> str:
        """The most important of them, for the screen."""

    def close(self) -> None:
        """Ends all workers; later rows get new ones."""


def measure_rows(results: Results, rows: Iterable[Named], work: Rows, resume: bool) -> None:
    """Measures rows one after the other and writes each as soon as it is there.

    Args:
        results: Where figures go.
        rows: What is wanted.
        work: Measures them.
        resume: Whether rows that are there are left as they are.

    Raises:
        SystemExit: Rows of another machine cannot be gone on with, or somebody interrupted.
    """
    if results.dropped and resume:
        raise SystemExit(
            f"{results.path} is of another machine, version or setting, so it cannot be gone on "
            "with. Name another file with --output, or leave out --resume to replace it."
        )
    if results.dropped:
        print(f"{results.path.name} is of another machine, version or setting; starting afresh.")
    try:
        for row in rows:
            if resume and row.name in results.rows:
                print(f"{row.name}: measured before", flush=True)
            else:
                _measure(results, row, work)
    except KeyboardInterrupt:
        print("\nInterrupted. What was measured is kept; go on with --resume.")
        raise SystemExit(130) from None
    finally:
        work.close()
    results.write()
    print(f"Wrote {results.path}.")


def _measure(results: Results, row: Named, work: Rows) -> None:
    missing = work.needs(row)
    if missing is not None:
        if row.name not in results.rows:
            results.skipped[row.name] = f"needs {missing}"
        print(f"{row.name}: skipped, it needs {missing}", flush=True)
        return
    print(f"{row.name}: ", end="", flush=True)
    started = time.perf_counter()
    try:
        found = work.measure(row)
    except (WorkerError, FileNotFoundError) as error:
        results.skipped[row.name] = str(error)
        results.write()
        print(f"failed: {error}", flush=True)
        work.close()
        return
    found["seconds"] = round(time.perf_counter() - started, 1)
    results.put(row.name, found)
    print(f"{work.told(found)}{found['seconds']:.0f} s", flush=True)


def summary(what: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """One side of a row: median, extremes, 95th percentile and the values themselves."""
    ordered = sorted(values)
    return {
        "what": what,
        "median": median(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "values": [float(f"{value:.6g}") for value in values],
        **more,
    }


def compared(
    group: str,
    title: str,
    unit: str,
    ours: dict[str, Any],
    peer: dict[str, Any] | None,
    **more: Any,
) -> dict[str, Any]:
    """A row. Its ratio is above 1 where ours is better: faster, or with less memory or delay."""
    ratio = None
    if peer is not None:
        ratio = ours["median"] / peer["median"]
        ratio = ratio if unit == "pairs/s" else 1 / ratio
    return {
        "group": group,
        "title": title,
        "unit": unit,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        **more,
    }


def commit() -> str | None:
    """The commit that was measured; with a plus sign if files were changed since."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
