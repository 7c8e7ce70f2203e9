from __future__ import annotations

import pickle
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rankwright.errors import ColumnError, DataError, EmptyDataError, LabelError
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss
from rankwright.losses.pairs import LabelRule, PairBuilder, as_columns

MODEL = SimpleNamespace(num_labels=1)
BCE = BinaryCrossEntropyLoss(MODEL).pairs
GROUP = GroupSoftmaxLoss(MODEL).pairs


def test_two_columns_and_a_label_are_one_pair_per_row() -> None:
    built = BCE({"question": ["q1", "q2"], "answer": ["a", "b"], "label": [1, 0.25]})
    assert built.pairs == [("q1", "a"), ("q2", "b")]
    assert built.labels == [1, 0.25]
    assert built.group_sizes is None


def test_the_order_of_columns_decides_not_their_names() -> None:
    built = BCE({"label": [1], "zzz": ["query"], "aaa": ["document"]})
    assert built.pairs == [("query", "document")]


def test_tuples_are_a_group_whose_first_document_is_relevant() -> None:
    built = GROUP({"anchor": ["q", "r"], "positive": ["p", "s"], "negative": ["n", "t"]})
    assert built.pairs == [("q", "p"), ("q", "n"), ("r", "s"), ("r", "t")]
    assert built.labels == [1.0, 0.0, 1.0, 0.0]
    assert built.group_sizes == [2, 2]


def test_tuples_may_carry_labels() -> None:
    built = GROUP({"q": ["q"], "a": ["x"], "b": ["y"], "labels": [[0, 2]]})
    assert built.labels == [0, 2]


def test_lists_may_be_of_any_length() -> None:
    built = GROUP(
        {"q": ["q", "r", "s"], "docs": [["a", "b"], [], ["c"]], "labels": [[1, 0], [], [1]]}
    )
    assert built.pairs == [("q", "a"), ("q", "b"), ("s", "c")]
    assert built.group_sizes == [2, 0, 1]
    assert built.labels == [1, 0, 1]


def test_arrays_and_numpy_numbers_do() -> None:
    built = GROUP({"q": ["q"], "docs": [np.array(["a", "b"])], "labels": [np.array([1.0, 0.0])]})
    assert built.pairs == [("q", "a"), ("q", "b")]
    assert built.labels == [1.0, 0.0]


@pytest.mark.parametrize("name", ["label", "labels", "score", "scores"])
def test_every_name_of_a_label_column(name: str) -> None:
    assert BCE({"q": ["q"], "d": ["d"], name: [0.5]}).labels == [0.5]


def test_the_first_label_name_wins_and_the_other_is_then_no_text() -> None:
    with pytest.raises(ColumnError, match="column 'score'"):
        BCE({"q": ["q"], "d": ["d"], "score": [0.3], "label": [[1, 1]]})


def test_the_prompt_stands_before_queries_only() -> None:
    built = replace(BCE, prompt="query: ")({"q": ["x"], "d": ["y"], "label": [1]})
    assert built.pairs == [("query: x", "y")]


def test_builders_travel_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(GROUP)) == GROUP


@pytest.mark.parametrize(
    ("builder", "columns", "error", "words"),
    [
        (BCE, {"q": ["q"], "label": [1]}, ColumnError, "only 1 can hold texts"),
        (BCE, {"q": ["q"], "d": ["d"]}, LabelError, "BinaryCrossEntropyLoss needs labels"),
        (BCE, {"q": ["q"], "d": ["d"], "label": [2]}, LabelError, "from 0 to 1, found 2"),
        (BCE, {"q": ["q"], "d": ["d"], "label": [float("nan")]}, LabelError, "found nan"),
        (BCE, {"q": ["q"], "d": ["d"], "label": [None]}, LabelError, "found None"),
        (BCE, {"q": ["q"], "d": ["d"], "label": ["yes"]}, LabelError, "found 'yes'"),
        (BCE, {"q": ["q"], "d": [None], "label": [1]}, ColumnError, "column 'd': expected a text"),
        (BCE, {"q": [3], "d": ["d"], "label": [1]}, ColumnError, "column 'q': expected a text"),
        (
            GROUP,
            {"q": ["q"], "p": ["p"], "qid": [17]},
            ColumnError,
            "column 'qid': expected a text, found 17",
        ),
        (GROUP, {"q": ["q"], "d": ["d"], "label": [1]}, ColumnError, "'q', 'd' are (query, doc"),
        (GROUP, {"q": ["q"], "d": [["a"]]}, LabelError, "needs labels"),
        (GROUP, {"q": ["q"], "d": [["a"]], "labels": [[1, 0]]}, LabelError, "has 1 documents"),
        (GROUP, {"q": ["q"], "d": [["a"]], "labels": [1]}, LabelError, "needs a list of 1"),
        (GROUP, {"q": ["q"], "d": [["a"]], "labels": [[-1]]}, LabelError, "at least 0, found -1"),
        (GROUP, {"q": ["q"], "d": [[]], "labels": [[]]}, EmptyDataError, "empty list"),
        (
            GROUP,
            {"q": ["q", "r"], "d": [["a"], "b"], "labels": [[1], [1]]},
            ColumnError,
            "expected a list of documents in every row, found 'b'",
        ),
    ],
)
def test_mistakes_are_named(
    builder: PairBuilder, columns: dict[str, list[Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        builder(columns)


def test_class_labels_must_be_whole() -> None:
    rule = LabelRule(0, 2, integer=True)
    assert rule.allows(2)
    assert rule.allows(1.0)
    assert not rule.allows(1.5)
    assert not rule.allows(3)
    assert rule.describe() == "whole numbers from 0 to 2"


def test_rows_become_columns() -> None:
    assert as_columns([{"a": 1, "b": 2}, {"b": 4, "a": 3}]) == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(DataError, match="no value for 'b'"):
        as_columns([{"a": 1, "b": 2}, {"a": 3}])
    with pytest.raises(EmptyDataError):
        as_columns([])
