"""From labels of every kind to relevance grades.

Grades are whole numbers of which those above 0 are relevant. The rule, with threshold ``t``
(1 unless the user says otherwise), looks at all labels of a source together:

* Some are fractions and all lie in 0..1 (probabilities, similarities): a label is relevant from
  ``t`` up, or from 0.5 up if ``t`` is 1; its grade is 1, that of the others 0.
* Otherwise (0/1, grades such as 0..3, scales such as 0..5 with fractions): a label is relevant
  from ``t`` up and its grade is ``floor(label - t) + 1``. With ``t = 1`` whole labels are their
  own grades; with ``t = 2`` a 2 becomes 1 and a 3 becomes 2. Labels below ``t`` become 0; negative
  grades of a qrels file, which TREC uses for spam, stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from rankwright.data.files import excerpt
from rankwright.data.table import Place
from rankwright.errors import LabelError

__all__ = ["MAX_LABEL", "parse_label", "to_grade", "to_grades"]

MAX_LABEL = 100.0
"""Labels above this are taken for something else, such as an id or a count."""

HALF = 0.5
WORDS = {"true": 1.0, "false": 0.0}


def parse_label(value: Any, column: str, place: Place) -> float:
    """The label as a number.

    Raises:
        LabelError: It is missing, no number, NaN, infinite, negative or above ``MAX_LABEL``.
    """
    number = _number(value)
    if number is None:
        what = "a missing label" if value is None or value == "" else excerpt(value)
        raise place.error(LabelError, f"expected a number as label, found {what}.", column)
    if not math.isfinite(number):
        raise place.error(
            LabelError, f"the label is {number}. Repair it or remove the row.", column
        )
    if not 0 <= number <= MAX_LABEL:
        raise place.error(
            LabelError,
            f"the label {number:g} is outside 0 to {MAX_LABEL:g}. 0 means not relevant and higher "
            "means more relevant; shift or scale the labels, or name another column with "
            "--label-column.",
            column,
        )
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, int, float, Decimal, np.number, np.bool_)):
        return float(value)
    if isinstance(value, str):
        if value.strip().lower() in WORDS:
            return WORDS[value.strip().lower()]
        try:
            return float(value)
        except ValueError:
            return None
    return None


def to_grades(labels: Sequence[float], threshold: float = 1) -> list[int]:
    """Grades of all labels of a source, by the rule at the top of this module."""
    if _are_probabilities(labels):
        bar = threshold if threshold < 1 else HALF
        return [int(label >= bar) for label in labels]
    return [to_grade(label, threshold) for label in labels]


def to_grade(label: float, threshold: float = 1) -> int:
    """Grade of one label that is known to be a grade or a scale, not a probability."""
    if label >= threshold:
        return math.floor(label - threshold) + 1
    return min(0, math.floor(label))


def _are_probabilities(labels: Sequence[float]) -> bool:
    return all(0 <= label <= 1 for label in labels) and any(
        not float(label).is_integer() for label in labels
    )
