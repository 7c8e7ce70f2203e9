from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwright.data.labels import parse_label, to_grade, to_grades
from rankwright.data.table import Place
from rankwright.errors import LabelError

PLACE = Place("f.csv", 7)


@pytest.mark.parametrize(
    ("labels", "threshold", "grades"),
    [
        ([0, 1, 2, 3], 1, [0, 1, 2, 3]),  # grades stay themselves
        ([0, 1, 2, 3], 2, [0, 0, 1, 2]),
        ([0.0, 1.0], 1, [0, 1]),
        ([0.49, 0.5, 1.0, 0.0], 1, [0, 1, 1, 0]),  # probabilities: half
        ([0.49, 0.5, 0.8], 0.75, [0, 0, 1]),
        ([0.5, 3.8, 5.0, 1.0], 1, [0, 3, 5, 1]),  # a scale with fractions
        ([0.5, 2.4, 2.5, 4.0], 2.5, [0, 0, 1, 2]),
        ([], 1, []),
    ],
)
def test_rule(labels: list[float], threshold: float, grades: list[int]) -> None:
    assert to_grades(labels, threshold) == grades


def test_negative_qrels_grades_stay() -> None:
    assert [to_grade(grade) for grade in (-2, -1, 0, 1)] == [-2, -1, 0, 1]


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(1, 50))
def test_relevant_means_at_or_above_the_threshold(labels: list[float], threshold: float) -> None:
    probabilities = max(labels) <= 1 and any(not label.is_integer() for label in labels)
    bar = 0.5 if probabilities else threshold
    assert [g > 0 for g in to_grades(labels, threshold)] == [label >= bar for label in labels]


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), ("2", 2.0), (" 0.5 ", 0.5), (True, 1.0), ("False", 0.0), (Decimal("3"), 3.0)],
)
def test_numbers(value: Any, number: float) -> None:
    assert parse_label(value, "label", PLACE) == number


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yes", "expected a number as label, found 'yes'"),
        (None, "missing label"),
        ("", "missing label"),
        ([1], "expected a number"),
        (float("nan"), "is nan"),
        ("inf", "is inf"),
        (-1, "-1 is outside 0 to 100"),
        (101, "outside"),
    ],
)
def test_labels_that_cannot_be_used(value: Any, message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        parse_label(value, "label", PLACE)
    assert (caught.value.path, caught.value.line, caught.value.column) == ("f.csv", 7, "label")
