"""What training tells a model card: data sets, losses, evaluations, emissions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ColumnFacts",
    "DatasetFacts",
    "EmissionFacts",
    "EvaluationFacts",
    "LossFacts",
    "MetricRow",
    "names_of",
]

_WITH_CHANGE = re.compile(r"([+-]?[\d.]+(?:e[+-]?\d+)?) \(([+-][\d.]+(?:e[+-]?\d+)?)\)")


@dataclass(frozen=True)
class MetricRow:
    """One measured number.

    Attributes:
        dataset: Which data it was measured on.
        metric: Name such as ``"nDCG@10"``.
        value: The model's.
        baseline: The first stage's, or another model's, on the same data.
        note: Such as ``"p = 0.003"`` or ``"300 queries"``.
    """

    dataset: str
    metric: str
    value: float
    baseline: float | None = None
    note: str = ""


@dataclass(frozen=True)
class LossFacts:
    """A loss.

    Attributes:
        name: Name of its class.
        config: Its settings.
        citation: BibTeX of its paper, if it has one.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    citation: str | None = None


@dataclass(frozen=True)
class ColumnFacts:
    """A column of a data set.

    Attributes:
        name: Its name.
        kind: ``"text"``, ``"texts"``, ``"label"``, ``"labels"`` or another type's name.
        statistics: Such as ``"3 to 15 tokens, 7.2 on average"``, or each label's share.
    """

    name: str
    kind: str
    statistics: str = ""


@dataclass(frozen=True)
class DatasetFacts:
    """A data set that was trained or evaluated on.

    Attributes:
        name: Its name; empty if it has none.
        id: Its name on the hub, if it came from there.
        revision: The commit there.
        size: Rows; None for a stream.
        columns: Its columns; empty if they are not known.
        looked_at: How many of the first rows the statistics come from.
        samples: A few rows, one text per column.
        loss: What it was trained with.
    """

    name: str = ""
    id: str | None = None
    revision: str | None = None
    size: int | None = None
    columns: tuple[ColumnFacts, ...] = ()
    looked_at: int = 0
    samples: tuple[tuple[str, ...], ...] = ()
    loss: LossFacts | None = None


@dataclass(frozen=True)
class EmissionFacts:
    """What CodeCarbon measured.

    Attributes:
        emissions: Kilograms of CO2 equivalents.
        energy: Kilowatt hours.
        hours: Duration of the measurement.
        cpu: Model of the processor.
        gpu: Model of the accelerator, if there was one.
        ram: Memory in gigabytes.
        on_cloud: Whether it ran at a cloud provider.
    """

    emissions: float
    energy: float | None = None
    hours: float | None = None
    cpu: str | None = None
    gpu: str | None = None
    ram: float | None = None
    on_cloud: bool = False


@dataclass(frozen=True)
class _Reading:
    epoch: float
    step: int
    metrics: dict[str, float]


@dataclass
class EvaluationFacts:
    """What one evaluator measured, over time.

    Attributes:
        kind: Name of its class.
        description: The same in words.
        dataset: The name it was given.
        config: Its settings.
        primary: Its main metric.
        first_stage: Metric -> value of the first stage's order, where there is one.
    """

    kind: str
    description: str
    dataset: str
    config: Mapping[str, Any]
    primary: str | None = None
    first_stage: dict[str, float] = field(default_factory=dict)
    _readings: list[_Reading] = field(default_factory=list)

    def add(self, metrics: Mapping[str, Any], epoch: float, step: int) -> None:
        """Takes down one evaluation.

        Args:
            metrics: Metric -> number, or a text such as ``"0.6728 (+0.1400)"``, which also says
                by how much it differs from the first stage.
            epoch: When in training; -1 outside.
            step: Likewise.
        """
        read: dict[str, float] = {}
        for name, value in metrics.items():
            name = name.removeprefix(f"{self.dataset}_") if self.dataset else name
            changed = _WITH_CHANGE.fullmatch(value) if isinstance(value, str) else None
            if changed is not None:
                read[name] = float(changed[1])
                self.first_stage[name] = float(changed[1]) - float(changed[2])
            elif not isinstance(value, str):
                read[name] = float(value)
        self._readings.append(_Reading(epoch, step, read))

    def now(self, best_step: int | None) -> dict[str, float]:
        """The present model's values.

        Args:
            best_step: The step whose weights were taken at the end of training, if not the last.
        """
        last = self._readings[-1]
        if last.epoch >= 0 and best_step is not None:
            last = next((r for r in reversed(self._readings) if r.step == best_step), last)
        return last.metrics

    def before(self, best_step: int | None) -> dict[str, float]:
        """The values before training; empty if they were not measured."""
        first = self._readings[0]
        outside = first.epoch < 0 or first.step == 0
        return first.metrics if outside and first.metrics is not self.now(best_step) else {}


def names_of(datasets: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """Name and hub name of data sets as users name them."""
    found: list[tuple[str, str | None]] = []
    for entry in datasets:
        if isinstance(entry, str):
            found.append((entry, None))
        else:
            hub = entry.get("id")
            found.append((str(entry.get("name") or hub or ""), None if hub is None else str(hub)))
    return found
