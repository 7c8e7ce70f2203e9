"""Pictures for a model card: how training went, and what it gained."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.facts import MetricRow
from rankwright.model.card.markdown import one_line
from rankwright.model.card.tables import all_results

__all__ = ["CURVES_FILE", "GAINS_FILE", "draw_plots"]

logger = logging.getLogger(__name__)

CURVES_FILE = "training_curves.png"
GAINS_FILE = "base_to_reranked.png"

_MOST_GAINS = 24
_LOSSES = {"training_loss": "training", "validation_loss": "validation"}
_BEFORE, _AFTER = "#8a8a8a", "#1f6feb"


def draw_plots(data: CrossEncoderModelCardData, folder: Path) -> dict[str, str]:
    """Draws what there is to draw into ``folder``, as PNG, the same each time.

    Needs matplotlib; without it nothing is drawn, and the log says so. A picture is never worth
    a model: if drawing fails, the log says that too, and the card comes without.

    Args:
        data: What the card knows.
        folder: An existing folder.

    Returns:
        File name -> what the picture shows.
    """
    curves = _curves(data)
    gains = [row for row in all_results(data) if row.baseline is not None][:_MOST_GAINS]
    wanted = bool(curves) + bool(gains)
    if not wanted:
        return {}
    try:
        from matplotlib import style
    except ImportError:
        logger.info(
            "The model card gets no plots, because matplotlib is not installed: "
            "pip install 'rankwright[plots]'"
        )
        return {}
    drawn: dict[str, str] = {}
    try:
        # Whatever style, font or backend the caller has set: a card looks like any other.
        with style.context("default"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font does not have
            if curves:
                _save(_draw_curves(curves), folder / CURVES_FILE)
                drawn[CURVES_FILE] = "Losses and metrics during training"
            if gains:
                _save(_draw_gains(gains), folder / GAINS_FILE)
                drawn[GAINS_FILE] = "Metrics before and after reranking"
    except (OSError, RuntimeError, ValueError) as error:
        logger.warning("The model card gets no further plots: %s", error)
    return drawn


_Series = dict[str, tuple[list[float], list[float]]]


def _curves(data: CrossEncoderModelCardData) -> dict[str, _Series]:
    """Panel -> line -> steps and values; a line needs two points."""
    panels: dict[str, _Series] = {"Loss": {}, "Metric": {}}
    for row in data.training_logs:
        for key, value in row.items():
            if key in ("epoch", "step"):
                continue
            panel = panels["Loss" if key in _LOSSES else "Metric"]
            steps, values = panel.setdefault(_LOSSES.get(key, key), ([], []))
            steps.append(row["step"])
            values.append(value)
    return {
        title: lines
        for title, panel in panels.items()
        if (lines := {name: line for name, line in panel.items() if len(line[0]) > 1})
    }


def _draw_curves(panels: dict[str, _Series]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.6 * len(panels) + 0.4), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0],
        panels.items(),
        strict=True,
    ):
        for name, (steps, values) in lines.items():
            marker = "o" if len(steps) <= 30 else None
            axes.plot(steps, values, label=_label(name), marker=marker, markersize=3.5)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    axes.set_xlabel("Step")
    return figure


def _draw_gains(rows: Sequence[MetricRow]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 0.34 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    before = [float(row.baseline or 0.0) for row in rows]
    after = [row.value for row in rows]
    axes.hlines(places, before, after, color="#c8c8c8", linewidth=3, zorder=1)
    axes.scatter(before, places, color=_BEFORE, label="before", zorder=2)
    axes.scatter(after, places, color=_AFTER, label="this model", zorder=3)
    axes.set_yticks(places, [_label(f"{row.dataset}: {row.metric}") for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _label(text: str) -> str:
    """Short, on one line, and not taken for a formula; a leading _ would hide a line's name."""
    text = one_line(text).replace("$", r"\$")
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return f" {text}" if text.startswith("_") else text


def _save(figure: Any, path: Path) -> None:
    # Without the program's version the same numbers give the same bytes.
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})
