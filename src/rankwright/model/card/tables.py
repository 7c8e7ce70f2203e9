"""The tables of a model card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.facts import DatasetFacts, EvaluationFacts, MetricRow
from rankwright.model.card.markdown import Markdown, code, inline, table

__all__ = [
    "all_results",
    "evaluation_table",
    "log_table",
    "samples_table",
    "statistics_table",
]

MAX_LOG_ROWS = 100
_MAX_TEXT = 300
_TITLES = {"training_loss": "Training loss", "validation_loss": "Validation loss"}


def all_results(data: CrossEncoderModelCardData) -> list[MetricRow]:
    """What was measured: the results that were added, then those of evaluators."""
    found = list(data.results)
    for evaluation in data.evaluations:
        before = evaluation.first_stage or evaluation.before(data.best_step)
        name = evaluation.dataset or evaluation.description
        for metric, value in evaluation.now(data.best_step).items():
            found.append(MetricRow(name, metric, value, before.get(metric)))
    return found


def evaluation_table(facts: EvaluationFacts, data: CrossEncoderModelCardData) -> Markdown:
    """One row per metric; the first stage and the model before training where they are known."""
    now = facts.now(data.best_step)
    columns: list[tuple[str, Mapping[str, float]]] = [("This model", now)]
    before = facts.before(data.best_step) if data.training_summary else {}
    if before:
        columns.insert(0, ("Before training", before))
    if facts.first_stage:
        columns.insert(0, ("First stage", facts.first_stage))
    rows = []
    for metric in now:
        cells = [inline(metric), *(_value(values.get(metric)) for _, values in columns)]
        rows.append([_bold(cell) for cell in cells] if metric == facts.primary else cells)
    return table(["Metric", *(title for title, _ in columns)], rows, range(1, len(columns) + 1))


def log_table(data: CrossEncoderModelCardData) -> Markdown:
    """Losses and metrics by step, the row of the weights that were kept in bold."""
    rows = _thinned(data.training_logs, data.best_step)
    found = {key for row in rows for key in row} - {"epoch", "step"}
    keys = [*(key for key in _TITLES if key in found), *sorted(found - _TITLES.keys())]
    cells = []
    for row in rows:
        line = [
            inline(f"{row.get('epoch', 0.0):.4g}"),
            inline(int(row["step"])),
            *(_value(row.get(key), missing="-") for key in keys),
        ]
        bold = data.best_step is not None and row["step"] == data.best_step
        cells.append([_bold(cell) for cell in line] if bold else line)
    header = ["Epoch", "Step", *(_TITLES.get(key, key) for key in keys)]
    return table(header, cells, range(len(header)))


def statistics_table(facts: DatasetFacts) -> Markdown:
    """One column per column: what it holds, and how long or how large that is."""
    return table(
        ["", *(code(column.name) for column in facts.columns)],
        [
            ["Type", *(column.kind for column in facts.columns)],
            ["Statistics", *(column.statistics for column in facts.columns)],
        ],
    )


def samples_table(facts: DatasetFacts) -> Markdown:
    """A few rows."""
    return table(
        [code(column.name) for column in facts.columns],
        [[code(text, _MAX_TEXT) for text in row] for row in facts.samples],
    )


def _thinned(rows: Sequence[dict[str, float]], best: int | None) -> list[dict[str, float]]:
    """At most `MAX_LOG_ROWS` rows, evenly over the steps; those with metrics stay first."""
    if len(rows) <= MAX_LOG_ROWS:
        return list(rows)
    rich = [i for i, row in enumerate(rows) if row.keys() - {"epoch", "step", "training_loss"}]
    poor = [i for i in range(len(rows)) if i not in set(rich)]
    kept = {0, len(rows) - 1} | {i for i, row in enumerate(rows) if row["step"] == best}
    for pool in (rich, poor):
        kept.update(_evenly(pool, MAX_LOG_ROWS - len(kept)))
    return [rows[i] for i in sorted(kept)]


def _evenly(pool: Sequence[int], count: int) -> list[int]:
    if count <= 0 or len(pool) <= count:
        return list(pool)[: max(count, 0)]
    return [pool[i * len(pool) // count] for i in range(count)]


def _value(value: Any, missing: str = "") -> Markdown:
    if value is None or not math.isfinite(value):
        return Markdown(missing)
    return Markdown(f"{value:.4f}")


def _bold(cell: Markdown) -> Markdown:
    return Markdown(f"**{cell}**") if cell and cell != "-" else cell
