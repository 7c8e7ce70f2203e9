"""Puts the figures of results/serving.json into docs/deploy.md, between two markers.

.venv/bin/python benchmarks/serving/table.py            # writes
.venv/bin/python benchmarks/serving/table.py --check    # fails if the page says something else
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks import markers

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "deploy.md"
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
TABLE = "serving-table"

Row = dict[str, Any]


def _statuses(counted: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {status}" for status, count in sorted(counted.items()))


def _load(row: Row) -> tuple[str, str]:
    per = row["seconds"]
    return (
        f"{row['clients']} clients, {len(per)} times {min(per):.0f} s",
        f"{_statuses(row['statuses'])}; {mean(row['pairs_per_second']):.1f} pairs/s, "
        f"{100 * row['share_of_bare']:.0f} % of the bare engine's "
        f"{mean(row['bare_pairs_per_second']):.1f}; half of the answers within "
        f"{row['p50_ms'] / 1000:.1f} s, 99 % within {row['p99_ms'] / 1000:.1f} s",
    )


def _kill(row: Row) -> tuple[str, str]:
    replaced = "replaced" if row["replaced"] else "not replaced"
    return (
        f"`kill -9` of one of {row['workers']} workers",
        f"{replaced}; {row['broken_connections']} connections broke, {_statuses(row['statuses'])}; "
        f"afterwards {_statuses(row['statuses_afterwards'])}",
    )


def _slow(row: Row) -> tuple[str, str]:
    ends = ", ".join(f"{count} × {end}" for end, count in sorted(row["ends"].items()))
    return (
        f"{row['stalled']} clients that stall",
        f"got rid of: {ends}; the others {_statuses(row['statuses'])}",
    )


def _half(row: Row) -> tuple[str, str]:
    return (
        f"{row['half_sent']:,} bodies sent by half",
        f"{'everything' if row['released'] else 'not everything'} released; the others "
        f"{_statuses(row['statuses'])}",
    )


def _fuzz(row: Row) -> tuple[str, str]:
    return (
        f"{row['requests']:,} made-up requests to {len(row['routes'])} routes",
        f"{_statuses(row['statuses'])}; {len(row['faulty'])} server errors",
    )


def _leak(row: Row) -> tuple[str, str]:
    return (
        f"memory over {row['seconds'] / 60:.0f} minutes of mixed requests",
        f"at least {row['first_third_mib']:.0f} MiB per minute in the first third, "
        f"{row['last_third_mib']:.0f} in the last; {row['mib_per_minute']:+.2f} MiB a minute "
        f"(limit {row['limit_mib_per_minute']:g}); never more than {row['most_mib']:.0f} MiB; "
        f"{_statuses(row['statuses'])}",
    )


LINES: dict[str, Callable[[Row], tuple[str, str]]] = {
    "load": _load,
    "kill": _kill,
    "slow": _slow,
    "half": _half,
    "fuzz": _fuzz,
    "leak": _leak,
}


def render(results: dict[str, Any]) -> str:
    """The table and the line under it, as Markdown.

    Args:
        results: What benchmarks/serving/load.py writes.
    """
    rows = results["rows"]
    done = [name for name in LINES if name in rows]
    if not done:
        raise SystemExit("No stage has been measured yet.")
    lines = ["| what | what came of it | wrong scores | passed |", "|---|---|---|---|"]
    for name in done:
        what, found = LINES[name](rows[name])
        passed = "yes" if rows[name]["passed"] else "**no**"
        lines.append(f"| {what} | {found} | {rows[name]['wrong']} | {passed} |")
    machine, plan = results["machine"], results["plan"]
    dates = sorted({rows[name]["date"] for name in done})
    under = (
        f"{results['model']}, {results['backend']}, {plan['documents']} documents per request, "
        f"clients on the same machine: {machine['cpu']} ({machine['cores']} cores), "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}. All figures: "
        "[benchmarks/results/serving.json](../benchmarks/results/serving.json)."
    )
    return "\n".join([*lines, "", under])


def main() -> None:
    """Writes the page, or says that it is out of date."""
    given = markers.given(__doc__, RESULTS)
    markers.put_between_markers(PAGE, TABLE, render(given.results), check=given.check)


if __name__ == "__main__":
    main()
