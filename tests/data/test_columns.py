from __future__ import annotations

from typing import Any

import pytest

from rankwright.data import LoadOptions, column_roles, input_columns, label_column
from rankwright.data.columns import ColumnRoles
from rankwright.errors import ColumnError, InputError, InputTypeError


def test_label_column_goes_by_priority_not_by_place() -> None:
    assert label_column(["scores", "a", "labels"]) == "labels"
    assert input_columns(["scores", "a", "labels"]) == ["scores", "a"]
    assert label_column(["query", "text"]) is None
    assert input_columns(["query", "text"]) == ["query", "text"]
    assert label_column(["Label"]) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["query", "document"], ColumnRoles("query", "document")),
        (["passage", "question"], ColumnRoles("question", "passage")),
        (["text1", "text2", "score"], ColumnRoles("text1", "text2", "score")),
        (["sentence1", "sentence2", "label"], ColumnRoles("sentence1", "sentence2", "label")),
        (["Query", "Answer", "Relevance"], ColumnRoles("Query", "Answer", "Relevance")),
        (["premise", "hypothesis", "labels"], ColumnRoles("premise", "hypothesis", "labels")),
        (
            ["anchor", "positive", "negative"],
            ColumnRoles("anchor", "positive", None, ("negative",)),
        ),
        (
            ["anchor", "positive", "negative_10", "negative_2", "negative_1"],
            ColumnRoles("anchor", "positive", None, ("negative_1", "negative_2", "negative_10")),
        ),
        (
            ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt"],
            ColumnRoles("query", "pos", None, ("neg",), ("pos_scores", "neg_scores", "prompt")),
        ),
        # beside negatives, scores are a teacher's
        (
            ["query", "positive", "negative", "scores"],
            ColumnRoles("query", "positive", None, ("negative",), ("scores",)),
        ),
        (["query", "docs", "labels", "id"], ColumnRoles("query", "docs", "labels", (), ("id",))),
    ],
)
def test_layouts(names: list[str], expected: ColumnRoles) -> None:
    assert column_roles(names) == expected


def test_two_unknown_texts_go_by_order() -> None:
    row = {"id": 7, "frage": "wie?", "antwort": "so", "label": 1}
    assert column_roles(list(row), row) == ColumnRoles("frage", "antwort", "label", (), ("id",))


def test_one_known_name_gives_the_other_its_role() -> None:
    assert column_roles(["summary", "passage"]) == ColumnRoles("summary", "passage")
    assert column_roles(["body", "query"]) == ColumnRoles("query", "body")


def test_options_come_first() -> None:
    options = LoadOptions(
        query_column="b", document_column="a", label_column="n", negative_columns=("x",)
    )
    assert column_roles(["a", "b", "query", "n", "x"], None, options) == ColumnRoles(
        "b", "a", "n", ("x",), ("query",)
    )


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["one"], {}, "cannot be told.*found: 'one'.*--query-column"),
        (["query;document"], {}, "is that the separator"),
        (["a", "b", "c"], {}, "cannot be told.*'a', 'b', 'c'"),
        (["label", "score"], {}, "cannot be told"),
        (["query", "question", "text"], {}, "'query' and 'question' could each be the query"),
        (["query", "answer", "passage"], {}, "could each be the document"),
        (["a", "b"], {"query_column": "c"}, "--query-column names the column 'c'"),
        (["a", "b"], {"negative_columns": ("n",)}, "--negative-column names the column 'n'"),
        (["a", "b"], {"query_column": "a", "document_column": "a"}, "two roles"),
    ],
)
def test_errors_list_what_was_found_and_what_to_do(
    names: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ColumnError, match=message) as caught:
        column_roles(names, None, LoadOptions(**options))
    assert "LoadOptions(query_column" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dev_fraction": 1.0}, "dev_fraction"),
        ({"test_fraction": -0.1}, "test_fraction"),
        ({"dev_fraction": 0.5, "test_fraction": 0.5}, "below 1"),
        ({"max_queries": 0}, "max_queries"),
        ({"relevance_threshold": 0}, "relevance_threshold"),
        ({"relevance_threshold": float("nan")}, "relevance_threshold"),
    ],
)
def test_options_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LoadOptions(**values)


def test_a_bare_string_of_negative_columns_is_refused() -> None:
    with pytest.raises(InputTypeError, match="bare string"):
        LoadOptions(negative_columns="negative")  # type: ignore[arg-type]


def test_the_token_does_not_show() -> None:
    assert "secret" not in repr(LoadOptions(token="secret"))
