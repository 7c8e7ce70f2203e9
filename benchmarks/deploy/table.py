"""Puts the figures of benchmarks/results/deploy.json into docs/deploy.md.

.venv/bin/python benchmarks/deploy/table.py            # writes
.venv/bin/python benchmarks/deploy/table.py --check    # fails if the page says something else
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Run as a file, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks import markers
from benchmarks.deploy.candidates import CANDIDATES, REFERENCE, SIDES

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "deploy.md"
RESULTS = ROOT / "benchmarks" / "results" / "deploy.json"
TABLE = "deploy-table"
NDCG_LOSS = 0.003
"""The most nDCG@10 that a row may lose against float32 to count as the fastest."""


def render(results: dict[str, Any]) -> str:
    """Table and the lines under it, as Markdown.

    Args:
        results: What benchmarks/deploy/run.py writes.
    """
    rows = {c.name: results["rows"][c.name] for c in CANDIDATES if c.name in results["rows"]}
    return "\n\n".join(filter(None, (_table(rows), _ratios(rows), _circumstances(results))))


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| what runs it | pairs/s | rank 100: median, 95 % | start | size | memory | nDCG@10 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows.values(), key=lambda row: -row["relative"]):
        side = SIDES[row["side"]]
        title = f"{side}: {row['title']}"
        if row["side"] == "ours":
            title = f"**{title}**"
        rank = row["rank_ms"]
        cells = (
            title,
            f"{row['pairs_per_second']['median']:.1f}",
            f"{rank['median'] / 1000:.2f} s, {rank['p95'] / 1000:.2f} s",
            f"{row['start_seconds']['median']:.1f} s",
            f"{row['size_mib']:.0f} MiB",
            f"{row['peak_mib']:.0f} MiB",
            f"{row['ndcg']:.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fastest of ours that ranks as float32 does, against others.

    Returns:
        ``name`` of that row, ``best`` (name and ratio of the fastest other row) and ``default``
        (ratio to Sentence Transformers by default); what was not measured is missing.
    """
    exact = rows.get(CANDIDATES[0].name)
    if exact is None:
        return {}
    good = {
        name: row["relative"]
        for name, row in rows.items()
        if row["side"] == "ours" and exact["ndcg"] - row["ndcg"] <= NDCG_LOSS
    }
    name = max(good, key=lambda key: good[key])
    found: dict[str, Any] = {"name": name}
    others = {key: row["relative"] for key, row in rows.items() if row["side"] != "ours"}
    if others:
        best = max(others, key=lambda key: others[key])
        found["best"] = best, good[name] / others[best]
    if "peer-default" in others:
        found["default"] = good[name] / others["peer-default"]
    return found


def _ratios(rows: dict[str, dict[str, Any]]) -> str:
    found = ratios(rows)
    if "best" not in found:
        return ""
    name, ratio = found["best"]
    best = f"{SIDES[rows[name]['side']]}, {rows[name]['title']}"
    text = (
        f"The fastest of Rankwright's whose nDCG@10 is within {NDCG_LOSS} of float32 "
        f"({rows[found['name']]['title']}) scores **{ratio:.2f}** times as many pairs per second "
        f"as the best of all others ({best})"
    )
    if "default" in found:
        text += f", **{found['default']:.1f}** times as many as Sentence Transformers by default"
    return f"{text}."


def _circumstances(results: dict[str, Any]) -> str:
    machine, settings, versions = results["machine"], results["settings"], results["versions"]
    features = set(machine["features"])
    missing = [
        name
        for name, flags in (
            ("8-bit products (VNNI)", {"avx512_vnni", "avx_vnni", "amx_int8"}),
            ("bfloat16 products", {"avx512_bf16", "amx_bf16"}),
        )
        if not flags & features
    ]
    lacks = f", which has no instructions for {' and '.join(missing)}" if missing else ""
    dates = sorted({row["date"] for row in results["rows"].values()})
    ours, peer = versions["ours"], versions["peer"]
    kept = [
        f"{row['title']}: {', '.join(row['kept_in_float32'])}"
        for row in results["rows"].values()
        if row.get("kept_in_float32")
    ]
    parts = [
        f"{settings['pairs']} pairs of code search, medians of {settings['repeats']} runs, each "
        f"taken in turn with {_title(REFERENCE)} of Rankwright; rows are ordered, and ratios "
        "computed, by the speed relative to that one in the same turns. "
        f"{machine['cores']} cores of {machine['cpu']}{lacks}; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}.",
        f"nDCG@10 is that of {settings['quality_queries']} queries of {results['judged_on']} with "
        f"BM25's first {settings['quality_depth']} documents{_training(results)}. "
        '"Start" is the time from starting '
        "Python to the first score, memory the peak of the process, size all that is read from "
        "disk beside Python packages. Batch sizes of others are the best of "
        f"{', '.join(map(str, settings['batches']))}.",
        f"Sentence Transformers {peer['sentence-transformers']} with PyTorch {peer['torch']}, "
        f"ONNX Runtime {ours['onnxruntime']}, OpenVINO {ours['openvino'].split('-')[0]}. "
        f"{results['note']}",
    ]
    if kept:
        parts.append(f"Left in float32 by the gate: {'; '.join(kept)}.")
    absent = [c for c in CANDIDATES if c.name not in results["rows"]]
    if absent:
        names = (f"{SIDES[c.side]}: {c.title}" for c in absent)
        parts.append(f"Not measured: {'; '.join(names)}.")
    parts.append(
        "All figures: [benchmarks/results/deploy.json](../benchmarks/results/deploy.json)."
    )
    return " ".join(parts)


def _training(results: dict[str, Any]) -> str:
    """How the model was trained, where it was by the recipe that users get."""
    queries = results["settings"].get("train_queries")
    if queries is None or results["judged_on"] != "nl2bash":
        return ""
    return f", by a model that the recipe trained on {queries:,} others"


def _title(name: str) -> str:
    return next(candidate.title for candidate in CANDIDATES if candidate.name == name)


def main() -> None:
    """Writes the page, or says that it is out of date."""
    given = markers.given(__doc__, RESULTS)
    markers.put_between_markers(PAGE, TABLE, render(given.results), check=given.check)


if __name__ == "__main__":
    main()
