from __future__ import annotations

from typing import Any

import pytest

from rankwright.errors import ColumnError, InputError, InputTypeError
from rankwright.losses.pairs import PairBuilder
from rankwright.training.prompts import Prompts, check_prompts, prompts_for
from rankwright.training.rows import RowShape

ONE: dict[str | None, Any] = {None: ["query", "document", "label"]}
TWO: dict[str | None, Any] = {"faq": ["question", "answer"], "web": ["query", "page", "score"]}


@pytest.mark.parametrize(
    ("prompts", "columns", "expected"),
    [
        (None, ONE, {None: Prompts("base: ")}),
        ({}, ONE, {None: Prompts("base: ")}),
        ("find: ", ONE, {None: Prompts("find: ")}),
        ("", TWO, {"faq": Prompts(""), "web": Prompts("")}),
        ({"query": "q: "}, ONE, {None: Prompts(columns={"query": "q: "})}),
        ({"faq": "f: "}, TWO, {"faq": Prompts("f: "), "web": Prompts("base: ")}),
        (
            {"faq": {"question": "q: ", "answer": "a: "}, "web": "w: "},
            TWO,
            {"faq": Prompts(columns={"question": "q: ", "answer": "a: "}), "web": Prompts("w: ")},
        ),
        (
            {"question": "q: ", "page": "p: "},
            TWO,
            {"faq": Prompts(columns={"question": "q: "}), "web": Prompts(columns={"page": "p: "})},
        ),
        ({"text": "t: "}, {None: None}, {None: Prompts(columns={"text": "t: "})}),
        ({"web": "w: "}, {"web": None}, {"web": Prompts("w: ")}),
    ],
)
def test_which_prompt_stands_where(prompts: Any, columns: Any, expected: Any) -> None:
    assert prompts_for(prompts, "base: ", columns) == expected


@pytest.mark.parametrize(
    ("prompts", "columns", "words"),
    [
        ({"quary": "q: "}, ONE, "names 'quary', which is no column. There are: .*'query'"),
        (
            {"fax": "f: "},
            TWO,
            "names 'fax', which is no data set or column.*'faq', 'web', 'answer'",
        ),
        ({"faq": "f: ", "fax": "f: "}, TWO, "names 'fax', which is no data set. .*'faq', 'web'"),
        ({"faq": {"query": "q: "}}, TWO, "no column of the data set 'faq'. .*'question', 'answer'"),
        ({"faq": {"query": "q: "}}, ONE, "names 'faq', which is no data set.*without name"),
        ({"web": "w: "}, {"web": ["web", "page"]}, "could name data sets or columns"),
    ],
)
def test_unknown_names(prompts: Any, columns: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prompts_for(prompts, "", columns)


@pytest.mark.parametrize("prompts", [3, ["q: "], {"query": 1}, {"faq": {"query": None}}])
def test_what_is_no_text(prompts: Any) -> None:
    with pytest.raises(InputTypeError, match="prompts must be a text"):
        check_prompts(prompts)


def test_prompts_stand_before_texts_and_texts_in_lists() -> None:
    shape = RowShape(prompts=(("q", "query: "), ("d", "text: ")))
    columns = {"q": ["a", "b"], "d": [["x", "y"], ["z"]], "labels": [[1, 0], [1]]}
    assert shape(columns) == {
        "q": ["query: a", "query: b"],
        "d": [["text: x", "text: y"], ["text: z"]],
        "labels": [[1, 0], [1]],
    }
    assert columns["q"] == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("missing", "column 'missing', which is not there.*'q', 'd', 'label'"),
        ("label", "only texts"),
    ],
)
def test_prompts_for_what_is_no_text(column: str, words: str) -> None:
    with pytest.raises(ColumnError, match=words):
        RowShape(prompts=((column, "p: "),))({"q": ["a"], "d": ["b"], "label": [1]})


def test_rows_of_a_query_become_one() -> None:
    shape = RowShape(group_queries=True)
    columns = {
        "score": [0.1, 0.2, 0.3, 0.4],
        "q": ["a", "a", "b", "a"],
        "d": ["w", "x", "y", "z"],
    }
    assert shape(columns) == {
        "score": [[0.1, 0.2], [0.3], [0.4]],
        "q": ["a", "b", "a"],
        "d": [["w", "x"], ["y"], ["z"]],
    }
    assert list(shape(columns)) == list(columns)
    lists = {"q": ["a", "a"], "d": [["x"], ["y"]], "labels": [[1], [1]]}
    assert shape(lists) == lists
    tuples = {"q": ["a", "a"], "p": ["x", "y"], "n": ["z", "w"]}
    assert shape(tuples) == tuples


def test_only_losses_that_take_lists_get_them() -> None:
    lists, pairs = PairBuilder("A", ("lists", "tuples")), PairBuilder("B", ("pairs",))
    assert RowShape.for_pairs(lists, {}, group_queries=True).group_queries
    assert not RowShape.for_pairs(pairs, {}, group_queries=True).group_queries
    assert not RowShape.for_pairs(lists, {}, group_queries=False).group_queries


def test_lists_among_several_columns_of_documents_are_joined() -> None:
    columns = {"q": ["a", "b"], "pos": ["x", "y"], "neg": [["n1", "n2"], []]}
    joined = RowShape(first_is_positive=True)(columns)
    assert joined == {
        "q": ["a", "b"],
        "pos": [["x", "n1", "n2"], ["y"]],
        "labels": [[1.0, 0.0, 0.0], [1.0]],
    }
    several = {"q": ["a"], "pos": [["x", "y"]], "neg": [["n"]]}
    assert RowShape(first_is_positive=True)(several)["labels"] == [[1.0, 1.0, 0.0]]
    assert "labels" not in RowShape()(columns)
    taught = {**columns, "scores": [[3, 2, 1], [5]]}
    assert RowShape(first_is_positive=True)(taught)["scores"] == [[3, 2, 1], [5]]
