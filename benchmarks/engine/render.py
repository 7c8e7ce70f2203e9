"""Puts the figures of benchmarks/results/engine.json into docs/performance.md and docs/engine.svg.

.venv/bin/python benchmarks/engine/render.py            # writes
.venv/bin/python benchmarks/engine/render.py --check    # fails if the page says something else
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks import markers

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "engine.svg"
RESULTS = ROOT / "benchmarks" / "results" / "engine.json"
TABLE = "engine-table"

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
        ("compiled", _compiled),
        ("compiled-training", _compiled_training),
        ("prepacked", _prepacked),
        ("memory-growth", _growth),
        ("quality", _quality),
        ("loss-curves", _curves),
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
        f"{share['flops'] / 1e9:,.0f} of {peak[share['of']] / 1e9:,.0f} GFLOP/s "
        f"({share['share']:.0%}) in {share['kind']}"
        f"{'' if share['of'] == share['kind'] else ', measured by the rate of ' + share['of']}"
        for share in row["shares"].values()
    )
    return (
        f"Share of the machine's matrix-product rate that scoring A reaches: {told}. The rate is "
        "the best of several shapes of PyTorch's `linear` and of prepacked products; A has "
        f"{work['tokens'] / work['pairs']:.0f} tokens per pair on average, the longest "
        f"{work['longest']}."
    )


def _compiled(row: dict[str, Any]) -> str:
    if row["unavailable"] is not None:
        return f"The compiled library could not be measured: {row['unavailable']}."
    rates = {kind: _number(side["median"]) for kind, side in row["rates"].items()}
    return (
        f"Scoring A in the compiled library: {rates['int16']} pairs/s in int16, "
        f"{rates['float32']} in float32; in PyTorch {rates['PyTorch']} in float32 (the library is "
        f"{'on' if row['suggested'] else 'off'} by default on this processor)."
    )


def _compiled_training(row: dict[str, Any]) -> str:
    if row["unavailable"] is not None:
        return ""
    rates = {kind: _number(side["median"]) for kind, side in row["rates"].items()}
    return (
        f"Training on A in the compiled library: {rates['compiled']} pairs/s; in PyTorch "
        f"{rates['PyTorch']}, both in float32."
    )


def _prepacked(row: dict[str, Any]) -> str:
    told = []
    for kind, rates in row["rates"].items():
        if rates["unavailable"] is not None:
            told.append(f"{kind}: not possible, because {rates['unavailable']}")
            continue
        on, off = (_number(rates[side]["median"]) for side in ("on", "off"))
        default = "on" if rates["suggested"] else "off"
        told.append(
            f"{kind}: {on} pairs/s with, {off} without ({rates['gain']:.2f} times as "
            f"fast; {default} by default on this processor)"
        )
    return f"Prepacked products in scoring A: {'; '.join(told)}."


def _growth(row: dict[str, Any]) -> str:
    told = ", ".join(
        f"{documents} documents: {mib if isinstance(mib, str) else f'{mib:,.0f} MiB'}"
        for documents, mib in row["mib"].items()
    )
    return f"Rankwright's memory for the same step with longer lists: {told}."


def _quality(row: dict[str, Any]) -> str:
    lines = [
        f"Rankings in narrower formats against float32, after {row['steps']} training steps on "
        f"{row['trained_on']}:",
        "",
        "| data | format | Kendall's tau | nDCG@10 | in float32 | BM25 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, load in row["loads"].items():
        exact, first = load["float32"]["nDCG@10"], load["BM25"]["nDCG@10"]
        for kind in ("bfloat16", "int16"):
            if kind in load:
                found = load[kind]
                lines.append(
                    f"| {name} | {kind} | {found['kendall_tau']:.4f} | {found['nDCG@10']:.4f} | "
                    f"{exact:.4f} | {first:.4f} |"
                )
    return "\n".join(lines)


def _curves(row: dict[str, Any]) -> str:
    blocks = len(row["means"]["reference"])
    each = row["steps"] // blocks
    ends = " | ".join(f"to {each * (number + 1)}" for number in range(blocks))
    lines = [
        f"Mean loss in blocks of {each} training steps on {row['trained_on']}, over {row['seeds']} "
        "seeds; the padded reference is Sentence Transformers:",
        "",
        f"| training | {ends} | distance |",
        f"|---|{'---:|' * (blocks + 1)}",
    ]
    for name, means in row["means"].items():
        title = "padded, float32" if name == "reference" else f"packed, {name}"
        # Rankwright trains in float32 where the processor has no instructions for bfloat16.
        if name == "bfloat16" and row["products"][name] != name:
            title = f"packed, bf16=True, hence {row['products'][name]} on this processor"
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        distance = row["distance"].get(name)
        lines.append(f"| {title} | {cells} | {'' if distance is None else f'{distance:.1f}'} |")
    lines += [
        "",
        "The distance is the largest difference of a block from the reference, in standard errors; "
        "2 to 3 is what chance gives.",
    ]
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


def main() -> None:
    """Writes page and plot, or says that they are out of date."""
    given = markers.given(__doc__, RESULTS)
    markers.put_between_markers(PAGE, TABLE, render(given.results), check=given.check)
    markers.write(PLOT, plot(given.results), check=given.check)


if __name__ == "__main__":
    main()
