"""The model card: a README.md that says what a model is, how it was made and how to use it."""

from __future__ import annotations

from rankwright.model.card.data import CrossEncoderModelCardData, MetricRow
from rankwright.model.card.facts import (
    ColumnFacts,
    DatasetFacts,
    EmissionFacts,
    EvaluationFacts,
    LossFacts,
)
from rankwright.model.card.render import render_card

__all__ = [
    "ColumnFacts",
    "CrossEncoderModelCardData",
    "DatasetFacts",
    "EmissionFacts",
    "EvaluationFacts",
    "LossFacts",
    "MetricRow",
    "render_card",
]
