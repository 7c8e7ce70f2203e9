"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["comparison_lines", "ranking_table", "systems_table"]

_NOT_MEASURES = ("system", "pairs_per_second")


def systems_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """Systems side by side, with the best value of every measure in bold.

    Args:
        rows: ``{"system", measure: value …, "pairs_per_second"}`` each.
        title: Above the table.
    """
    measures = list(dict.fromkeys(key for row in rows for key in row if key not in _NOT_MEASURES))
    best = {m: max((row[m] for row in rows if row.get(m) is not None), default=0) for m in measures}
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    for name in [*measures, "pairs/s"]:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [_value(row.get(m), best[m]) for m in measures]
        speed = row.get("pairs_per_second")
        table.add_row(Text(row["system"]), *cells, "" if speed is None else f"{speed:,.0f}")
    return table


def _value(value: float | None, best: float) -> Text:
    if value is None:
        return Text("")
    # what reads the same is equally good
    shown = f"{value:.4f}"
    return Text(shown, style="bold" if shown == f"{best:.4f}" else "")


def comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """One line per comparison: difference, 95 % interval and p-value."""
    return "\n".join(
        f"{c['measure']}: {c['system']} {c['difference']:+.4f} over {c['against']} (95 % interval "
        f"{c['ci_low']:+.4f} to {c['ci_high']:+.4f}, p = {c['p_value']:.4f})"
        for c in comparisons
    )


def ranking_table(ranking: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """Rank, score, id and the beginning of the text."""
    shown_title = None if title is None else Text(title)
    # the texts take what width is left, never that of the numbers
    table = Table(title=shown_title, title_justify="left", expand=True)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", no_wrap=True, max_width=24)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for hit in ranking:
        text = " ".join(str(hit["text"]).split())
        table.add_row(str(hit["rank"]), f"{hit['score']:.4f}", Text(str(hit["id"])), Text(text))
    return table
