"""Running evaluators while training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.errors import InputError
from rankwright.evaluation import main_score

__all__ = ["EvaluationPoint", "as_evaluators", "run_evaluators"]


logger = logging.getLogger(__name__)


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

    With several evaluators, ``sequential_score`` is the main metric of the last one. A bare number
    is called ``evaluator``, or, with several evaluators, ``evaluator_0`` and so on. A metric that
    is not a finite number is named in a warning.

    Raises:
        InputError: Two evaluators use the same name for a metric, or one returns neither a number
            nor a dict.
    """
    point.folder.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, Any] = {}
    for evaluator in evaluators:
        result = evaluator(
            model, output_path=str(point.folder), epoch=point.epoch, steps=point.steps
        )
        found = _as_dict(result, evaluator, evaluators)
        strange = [name for name, value in found.items() if not _is_finite(value)]
        if strange:
            logger.warning(
                "Step %d: %s reports %s = %s.",
                *(point.steps, _name(evaluator), strange[0], found[strange[0]]),
            )
        clash = sorted(metrics.keys() & found.keys())
        if clash:
            raise InputError(
                f"two evaluators both report '{clash[0]}'; give each evaluator its own name=."
            )
        metrics.update(found)
        if len(evaluators) > 1 and evaluator is evaluators[-1]:
            metrics.setdefault("sequential_score", main_score(evaluator, found))
    return metrics


def _as_dict(result: Any, evaluator: Any, evaluators: Sequence[Any]) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    value = main_score(evaluator, result)
    number = next(i for i, other in enumerate(evaluators) if other is evaluator)
    return {"evaluator" if len(evaluators) == 1 else f"evaluator_{number}": value}


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return True  # not a number; whoever reports it knows why


def _name(evaluator: Any) -> str:
    return str(getattr(evaluator, "__name__", type(evaluator).__name__))
