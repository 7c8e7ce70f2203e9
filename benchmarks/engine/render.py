"""Puts the figures of benchmarks/results/engine.json into docs/performance.md and docs/engine.svg.

.venv/bin/python benchmarks/engine/render.py            # writes
.venv/bin/python benchmarks/engine/render.py --check    # fails if the page says something else
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "engine.svg"
RESULTS = ROOT / "benchmarks" / "results" / "engine.json"
BEGIN, END = "<!-- engine-table:begin -->", "<!-- engine-table:end -->"

WIDTH, ROW, LEFT, RIGHT = 860, 26, 440, 70
UNITS = {"pairs/s": "", "ms": " ms", "MiB": " MiB"}


def comparisons(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with two sides, in the order they were measured."""
    return [row for row in results["rows"].values() if "ratio" in row]


def render(results: dict[str, Any]) -> str:
    """Tables and the lines under them, as Markdown.

    Args:
        results: What benchmarks/engine/run.py writes.
    """
    parts = [_table(comparisons(results))]
    rows = results["rows"]
    for name, function in (
        ("share-of-peak", _share),
        ("memory-growth", _growth),
        ("quality", _quality),
    ):
        if name in rows:
            parts.append(function(rows[name]))
    parts += [_differences(results), _circumstances(results)]
    return "\n\n".join(part for part in parts if part)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| what | Sentence Transformers | Rankwright | times as good |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        peer = f"– ({row['note']})" if row["peer"] is None else _side(row["peer"], row["unit"])
        ratio = "" if row["ratio"] is None else f"**{row['ratio']:.1f}**"
        unit = ", pairs/s" if row["unit"] == "pairs/s" else ""
        ours = _side(row["ours"], row["unit"])
        lines.append(f"| {row['title']}{unit} | {peer} | {ours} | {ratio} |")
    return "\n".join(lines)


def _side(side: dict[str, Any], unit: str) -> str:
    median = f"{_number(side['median'])}{UNITS[unit]}"
    if unit == "ms":
        return f"{median}; 95 %: {_number(side['p95'])}{UNITS[unit]}"
    if len(side["values"]) == 1:
        return median
    return f"{median} ({_number(side['min'])}–{_number(side['max'])})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _share(row: dict[str, Any]) -> str:
    peak, work = row["peak"], row["work"]
    told = "; ".join(
        f"{share['flops'] / 1e9:,.0f} of {peak[share['kind']] / 1e9:,.0f} GFLOP/s "
        f"({share['share']:.0%}) in {share['kind']}"
        for share in row["shares"].values()
    )
    return (
        f"Share of the machine's matrix-product rate that scoring A reaches: {told}. The rate is "
        "the best of several shapes of PyTorch's `linear`; A has "
        f"{work['tokens'] / work['pairs']:.0f} tokens per pair on average, the longest "
        f"{work['longest']}."
    )


def _growth(row: dict[str, Any]) -> str:
    told = ", ".join(
        f"{documents} documents: {mib if isinstance(mib, str) else f'{mib:,.0f} MiB'}"
        for documents, mib in row["mib"].items()
    )
    return f"Rankwright's memory for the same step with longer lists: {told}."


def _quality(row: dict[str, Any]) -> str:
    lines = [
        f"Rankings in bfloat16 against float32, after {row['steps']} training steps on "
        f"{row['trained_on']}:",
        "",
        "| data | Kendall's tau | nDCG@10 float32 | nDCG@10 bfloat16 | nDCG@10 BM25 |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, load in row["loads"].items():
        values = [load[f"nDCG@10 {kind}"] for kind in ("float32", "bfloat16", "BM25")]
        cells = " | ".join(f"{value:.4f}" for value in values)
        lines.append(f"| {name} | {load['kendall_tau']:.4f} | {cells} |")
    return "\n".join(lines)


def _differences(results: dict[str, Any]) -> str:
    row = results["rows"].get("predict-float32")
    if row is None:
        return ""
    return (
        "Largest difference between the two libraries' logits in float32: "
        f"{row['largest_difference']:.1e}, where logits have a standard deviation of "
        f"{row['spread_of_scores']:.2f}."
    )


def _circumstances(results: dict[str, Any]) -> str:
    machine, versions, settings = results["machine"], results["versions"], results["settings"]
    dates = sorted({row["date"] for row in results["rows"].values()})
    peer, ours = versions["peer"], versions["ours"]
    skipped = ""
    if results["skipped"]:
        skipped = " Not measured: " + ", ".join(sorted(results["skipped"])) + "."
    return (
        f"Medians of {settings['repeats']} runs that alternate between the two, smallest and "
        f"largest in brackets; memory is measured once. {machine['cores']} cores of "
        f"{machine['cpu']}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; Sentence "
        f"Transformers {peer['sentence-transformers']} with PyTorch {peer['torch']}, Rankwright "
        f"with PyTorch {ours['torch']}.{skipped} All figures: "
        "[benchmarks/results/engine.json](../benchmarks/results/engine.json)."
        "\n\n![How many times as good as Sentence Transformers](engine.svg)"
    )


def plot(results: dict[str, Any]) -> str:
    """Horizontal bars of all ratios, as SVG; the line marks Sentence Transformers."""
    rows = [row for row in comparisons(results) if row["ratio"] is not None]
    most = max([1.0, *(row["ratio"] for row in rows)])
    scale = (WIDTH - LEFT - RIGHT) / most
    height = ROW * len(rows) + 60
    title = "How many times as good as Sentence Transformers (1 = equal)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="12" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        y = 40 + number * ROW
        wide = row["ratio"] * scale
        color = "#2b6cb0" if row["ratio"] >= 1 else "#b7472a"
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(_short(row))}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 8}" fill="{color}"/>',
            f'<text x="{LEFT + wide + 6:.1f}" y="{y + 15}">{row["ratio"]:.1f}</text>',
        ]
    one = LEFT + scale
    lines += [
        f'<line x1="{one:.1f}" y1="36" x2="{one:.1f}" y2="{height - 16}" stroke="#222222" '
        'stroke-dasharray="3 3"/>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _short(row: dict[str, Any]) -> str:
    title = str(row["title"]).replace("Sentence Transformers", "other")
    return title if len(title) <= 68 else f"{title[:67]}…"


def put_between_markers(text: str, table: str) -> str:
    """The text with the table in place of what is between the markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} lacks {BEGIN} or {END}.")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Writes page and plot, or says that they are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args()
    results = json.loads(given.results.read_text(encoding="utf-8"))
    wanted = {
        PAGE: put_between_markers(PAGE.read_text(encoding="utf-8"), render(results)),
        PLOT: plot(results),
    }
    for path, text in wanted.items():
        now = path.read_text(encoding="utf-8") if path.is_file() else ""
        if given.check and now != text:
            raise SystemExit(f"{path.name} does not say what the results say. Leave out --check.")
        if not given.check:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
