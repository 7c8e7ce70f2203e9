"""Puts the figures of results/losses.json into docs/losses.md, between two markers.

.venv/bin/python benchmarks/losses_table.py            # writes
.venv/bin/python benchmarks/losses_table.py --check    # fails if the page says something else

A seed of a data set counts only once all losses have been trained with it, so that every figure of
a column rests on the same runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import markers

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "losses.md"
RESULTS = ROOT / "benchmarks" / "results" / "losses.json"
TABLE = "losses-table"
DEFAULT = "GroupSoftmaxLoss"
SYSTEMS = {"tuned": "alone", "fused": "fused"}

Row = dict[str, Any]


def counted(results: dict[str, Any]) -> list[Row]:
    """The runs that count: those of a set and seed that all losses have."""
    rows: list[Row] = list(results["rows"].values())
    losses = {row["loss"] for row in rows}
    having: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        having.setdefault((row["set"], row["seed"]), set()).add(row["loss"])
    return [row for row in rows if having[row["set"], row["seed"]] == losses]


def render(results: dict[str, Any]) -> str:
    """Both tables and the lines under them, as Markdown.

    Args:
        results: What benchmarks/losses.py writes.
    """
    rows = counted(results)
    if not rows:
        raise SystemExit("No set and seed has been trained with all losses yet.")
    sets = [name for name in results["sets"] if any(row["set"] == name for row in rows)]
    losses = sorted({row["loss"] for row in rows}, key=lambda loss: -_overall(rows, loss, sets))
    parts = [_figures(rows, losses, sets), _differences(rows, losses)]
    return "\n\n".join([*parts, _circumstances(results, rows, sets)])


def _values(rows: list[Row], system: str, **where: str) -> list[float]:
    return [row[system] for row in rows if all(row[k] == v for k, v in where.items())]


def _overall(rows: list[Row], loss: str, sets: list[str]) -> float:
    """Mean over sets, alone and fused: the order of the table."""
    return mean(mean(_values(rows, s, loss=loss, set=name)) for s in SYSTEMS for name in sets)


def _figures(rows: list[Row], losses: list[str], sets: list[str]) -> str:
    heads = [f"{name}, {title}" for name in sets for title in SYSTEMS.values()]
    heads += [f"mean, {title}" for title in SYSTEMS.values()]
    lines = [
        f"| loss | {' | '.join(heads)} | training, CPU s |",
        f"|---|{'---:|' * (len(heads) + 1)}",
    ]
    first = {name: mean(_values(rows, "first_stage", set=name)) for name in sets}
    cells = [f"{first[name]:.3f}" for name in sets for _ in SYSTEMS]
    cells += [f"{mean(first.values()):.3f}"] * len(SYSTEMS)
    lines.append(f"| *BM25 alone* | {' | '.join(cells)} |  |")
    for loss in losses:
        cells = [_spread(_values(rows, s, loss=loss, set=name)) for name in sets for s in SYSTEMS]
        cells += [
            f"{mean(mean(_values(rows, s, loss=loss, set=name)) for name in sets):.3f}"
            for s in SYSTEMS
        ]
        seconds = mean(_values(rows, "cpu_seconds_training", loss=loss))
        lines.append(f"| {_name(rows, loss)} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    """Mean and, of several seeds, the standard deviation."""
    text = f"{mean(values):.3f}"
    return text if len(values) < 2 else f"{text} ± {stdev(values):.3f}"


def _name(rows: list[Row], loss: str) -> str:
    title = next(row["title"] for row in rows if row["loss"] == loss)
    return f"**{title}**" if loss == DEFAULT else title


def _differences(rows: list[Row], losses: list[str]) -> str:
    """Each loss against the default one, run by run, with the standard error of the mean."""
    usual = {(r["set"], r["seed"]): r for r in rows if r["loss"] == DEFAULT}
    if not usual:
        return ""
    name = next(iter(usual.values()))["title"]
    lines = [f"| against {name} | alone | fused | runs better alone |", "|---|---:|---:|---:|"]
    for loss in losses:
        pairs = [(r, usual[r["set"], r["seed"]]) for r in rows if r["loss"] == loss]
        if loss == DEFAULT:
            continue
        cells = [_error([row[s] - other[s] for row, other in pairs]) for s in SYSTEMS]
        better = sum(row["tuned"] > other["tuned"] for row, other in pairs)
        title = _name(rows, loss)
        lines.append(f"| {title} | {' | '.join(cells)} | {better} of {len(pairs)} |")
    return "\n".join(lines)


def _error(values: list[float]) -> str:
    text = f"{mean(values):+.3f}"
    return text if len(values) < 2 else f"{text} ± {stdev(values) / len(values) ** 0.5:.3f}"


def _circumstances(results: dict[str, Any], rows: list[Row], sets: list[str]) -> str:
    settings, machine = results["settings"], results["machine"]
    seeds = ", ".join(
        f"{name} {' '.join(map(str, sorted({r['seed'] for r in rows if r['set'] == name})))}"
        for name in sets
    )
    dates = sorted({row["date"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"{settings['measure']} on {settings['test']} test queries per set, means ± standard "
        f"deviation over seeds ({seeds}); in the second table ± standard error over all runs. "
        f"{rows[0]['steps']} steps of {settings['queries_per_step']} queries with "
        f"{1 + settings['hard'] + settings['random']} documents each, learning rate "
        f"{settings['learning_rate']:g}, MiniLM-L6 in float32. One thread of {machine['cpu']} "
        f"({machine['cores']} cores), {when}. All figures: "
        "[benchmarks/results/losses.json](../benchmarks/results/losses.json)."
    )


def main() -> None:
    """Writes the page, or says that it is out of date."""
    given = markers.given(__doc__, RESULTS)
    markers.put_between_markers(PAGE, TABLE, render(given.results), check=given.check)


if __name__ == "__main__":
    main()
