"""Puts the demo's figures from benchmarks/results/demo.json into the READMEs, between two markers.

.venv/bin/python benchmarks/demo_table.py            # writes
.venv/bin/python benchmarks/demo_table.py --check    # fails if one says something else
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import markers

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
READMES = (README, ROOT / "README.zh.md", ROOT / "README.vi.md")
RESULTS = ROOT / "benchmarks" / "results" / "demo.json"
TABLE = "demo-table"
NOT_MEASURES = ("system", "pairs_per_second")

MEANING = {
    "BM25": "BM25, first stage",
    "dense": "MiniLM embeddings, first stage",
    "base": "the reranker before training",
    "tuned": "**the reranker after training**",
    "tuned + first stage": "**the same, mixed with the first stage**",
}


def render(results: dict[str, Any]) -> str:
    """The table and the lines under it, as Markdown.

    Args:
        results: What benchmarks/demo.py writes: ``runs``, ``machine``, ``date``.
    """
    runs = results["runs"]
    tables = [{row["system"]: row for row in run["rows"]} for run in runs]
    systems = [name for name in tables[0] if all(name in table for table in tables)]
    measures = [key for key in tables[0][systems[0]] if key not in NOT_MEASURES]
    lines = [
        f"| system | {' | '.join(measures)} | pairs/s |",
        f"|---|{'---:|' * (len(measures) + 1)}",
    ]
    for name in systems:
        cells = [f"{mean(table[name][m] for table in tables):.3f}" for m in measures]
        speeds = [table[name]["pairs_per_second"] for table in tables]
        cells.append("" if None in speeds else f"{mean(speeds):,.0f}")
        lines.append(f"| {MEANING.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _gains(runs, measures[0]), "", _circumstances(results)])


def _gains(runs: list[dict[str, Any]], measure: str) -> str:
    gains = ", ".join(
        f"{run['comparison']['difference']:+.3f} (seed {run['seed']}; 95 % interval "
        f"{run['comparison']['ci_low']:+.3f} to {run['comparison']['ci_high']:+.3f})"
        for run in runs
    )
    return f"Gain in {measure} of the last row over the best first stage: {gains}."


def _circumstances(results: dict[str, Any]) -> str:
    runs, machine = results["runs"], results["machine"]
    queries = ", ".join(dict.fromkeys(f"{run['comparison']['queries']:.0f}" for run in runs))
    minutes = mean(run["seconds"] for run in runs) / 60
    return (
        f"Means over {len(runs)} runs with different seeds, each with its own split and "
        f"{queries} test queries; {minutes:.0f} minutes per run on {machine['cores']} cores of "
        f"{machine['cpu']}, {results['date']}. All figures: "
        "[benchmarks/results/demo.json](benchmarks/results/demo.json)."
    )


def main() -> None:
    """Writes the table, or says that it is out of date."""
    given = markers.given(__doc__, RESULTS)
    for readme in READMES:
        markers.put_between_markers(readme, TABLE, render(given.results), check=given.check)


if __name__ == "__main__":
    main()
