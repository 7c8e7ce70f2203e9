"""What mining found, in a table for the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np

from rankwright.mining.arrays import FloatArray
from rankwright.mining.formats import Mined
from rankwright.mining.options import MiningOptions

__all__ = ["log_report", "report_lines"]

ROW = "{:<6} {:>14} {:>14} {:>14}"
STATISTICS: dict[str, Callable[[FloatArray], float]] = {
    "Mean": lambda scores: float(scores.mean(dtype=np.float64)),
    "Median": lambda scores: float(np.median(scores)),
    "Std": lambda scores: float(scores.std(ddof=1, dtype=np.float64)),
    "Min": lambda scores: float(scores.min()),
    "25%": lambda scores: float(np.quantile(scores, 0.25)),
    "50%": lambda scores: float(np.quantile(scores, 0.50)),
    "75%": lambda scores: float(np.quantile(scores, 0.75)),
    "Max": lambda scores: float(scores.max()),
}


def log_report(logger: logging.Logger, mined: Mined, options: MiningOptions) -> None:
    """Logs `report_lines` at INFO."""
    if logger.isEnabledFor(logging.INFO):
        for line in report_lines(mined, options):
            logger.info("%s", line)


def report_lines(mined: Mined, options: MiningOptions) -> Iterator[str]:
    """Scores of positives and negatives, what was skipped and why, and what is missing.

    "Difference" is each positive's score less each of its negatives'. Shares of skipped
    candidates are of all candidates that were no positives.
    """
    negatives = mined.negative_scores[mined.kept]
    sizes = mined.kept.sum(axis=1)
    differences = np.repeat(mined.positive_scores, sizes) - negatives
    columns = [mined.positive_scores, negatives, differences]
    yield ROW.format("Metric", "Positive", "Negative", "Difference")
    yield ROW.format("Count", f"{len(columns[0]):,}", f"{len(negatives):,}", "")
    for name, statistic in STATISTICS.items():
        fewest = 2 if name == "Std" else 1
        cells = [f"{statistic(c):.4f}" if len(c) >= fewest else "-" for c in columns]
        yield ROW.format(name, *cells)
    selection = mined.selection
    for name, count in selection.skipped.items():
        if count:
            share = count / selection.considered
            yield (
                f"Skipped {count:,} potential negatives ({share:.2%}) due to the {name} of "
                f"{getattr(options, name)}."
            )
    missing, possible = mined.missing
    if missing:
        yield (
            f"Could not find enough negatives for {missing:,} samples ({missing / possible:.2%}). "
            f"Consider adjusting the {_advice(options)} if you'd like to find more valid negatives."
        )


def _advice(options: MiningOptions) -> str:
    names = ["range_max"]
    names += ["range_min"] if options.range_min > 0 else []
    filters = ("absolute_margin", "relative_margin", "max_score", "min_score")
    names += [name for name in filters if getattr(options, name) is not None]
    if len(names) == 1:
        return f"{names[0]} parameter"
    return f"{', '.join(names[:-1])} and {names[-1]} parameters"
