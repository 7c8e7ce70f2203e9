"""Running evaluators while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.errors import InputError

__all__ = ["EvaluationPoint", "as_evaluators", "run_evaluators"]


@dataclass(frozen=True)
class EvaluationPoint:
    """When and where an evaluation takes place.

    Attributes:
        folder: Where evaluators put their CSV files.
        epoch: Epochs done, with fraction.
        steps: Optimiser steps done.
    """

    folder: Path
    epoch: float
    steps: int


def as_evaluators(evaluator: Any) -> list[Any]:
    """One evaluator, several or none, as a list."""
    if evaluator is None:
        return []
    found = list(evaluator) if isinstance(evaluator, Sequence) else [evaluator]
    for item in found:
        if not callable(item):
            raise InputError(
                f"evaluator must be callable as evaluator(model, output_path=, epoch=, steps=), "
                f"found {type(item).__name__}."
            )
    return found


def run_evaluators(evaluators: Sequence[Any], model: Any, point: EvaluationPoint) -> dict[str, Any]:
    """The metrics of all evaluators together.

    With several evaluators, ``sequential_score`` is the main metric of the last one.

    Raises:
        InputError: Two evaluators use the same name for a metric.
    """
    point.folder.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, Any] = {}
    for evaluator in evaluators:
        result = evaluator(
            model, output_path=str(point.folder), epoch=point.epoch, steps=point.steps
        )
        found = dict(result) if isinstance(result, Mapping) else {"evaluator": float(result)}
        clash = sorted(metrics.keys() & found.keys())
        if clash:
            raise InputError(
                f"two evaluators both report '{clash[0]}'; give each evaluator its own name=."
            )
        metrics.update(found)
        if len(evaluators) > 1 and evaluator is evaluators[-1]:
            metrics.setdefault("sequential_score", _main(evaluator, found))
    return metrics


def _main(evaluator: Any, found: Mapping[str, Any]) -> Any:
    primary = getattr(evaluator, "primary_metric", None)
    if isinstance(primary, str) and primary in found:
        return found[primary]
    return next(iter(found.values()))
