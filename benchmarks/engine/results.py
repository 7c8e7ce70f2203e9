"""The file with all figures, written after every row."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Results", "commit", "compared", "summary"]

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
