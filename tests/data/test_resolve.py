"""Ids to texts: names, lists, what is kept, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import datasets
import pytest

from rankwright.data import resolve_ids
from rankwright.errors import (
    ColumnError,
    DuplicateIdError,
    InputError,
    InputTypeError,
    UnknownIdError,
)

QUERIES = datasets.Dataset.from_dict({"query_id": [7, 8], "text": ["seven", "eight"]})
DOCUMENTS = datasets.Dataset.from_dict({"id": ["a", "b", "c"], "text": ["A", "B", "C"]})
LOOKUPS = {"query_id": QUERIES, "document_ids": DOCUMENTS}
ROWS = datasets.Dataset.from_dict(
    {
        "document_ids": [["b", "a"], ["c", "b"]],
        "query_id": [8, 7],
        "scores": [[1.0, 0.5], [0.25, 0.0]],
        "noise": [1, 2],
    }
)


def test_columns_in_the_order_of_the_lookups() -> None:
    lazy = ROWS.with_transform(resolve_ids(LOOKUPS))
    assert lazy[:] == {
        "query": ["eight", "seven"],
        "document_1": ["B", "C"],
        "document_2": ["A", "B"],
        "scores": [[1.0, 0.5], [0.25, 0.0]],
    }
    assert next(iter(lazy[:])) == "query"


def test_lists_and_a_limit() -> None:
    made = resolve_ids(LOOKUPS, output_format="lists", max_list_length=1)
    eager = ROWS.map(made, batched=True, remove_columns=ROWS.column_names)
    assert eager.to_dict() == {
        "query": ["eight", "seven"],
        "documents": [["B"], ["C"]],
        "scores": [[1.0], [0.25]],
    }
    ragged = {"query_id": [7, 8], "document_ids": [["a"], []]}
    assert pickle.loads(pickle.dumps(resolve_ids(LOOKUPS, output_format="lists")))(ragged) == {
        "query": ["seven", "eight"],
        "documents": [["A"], []],
    }


def test_named_columns_and_single_ids() -> None:
    wide = DOCUMENTS.add_column("title", ["x", "y", "z"])
    made = resolve_ids({"positive_id": (wide, "id", "title")}, keep_columns=["label"])
    assert made({"positive_id": ["c", "a"], "label": [1, 0]}) == {
        "positive": ["z", "x"],
        "label": [1, 0],
    }
    assert made({"positive_id": []}) == {"positive": []}


@pytest.mark.parametrize(
    ("lookups", "options", "error", "message"),
    [
        (LOOKUPS, {"keep_columns": "label"}, InputTypeError, "list of names"),
        (LOOKUPS, {"max_list_length": 0}, InputError, "at least 1"),
        (LOOKUPS, {"output_format": "rows"}, InputError, "'columns' or 'lists'"),
        ({"q": {"a": "A"}}, {}, InputTypeError, "datasets.Dataset"),
        ({"q": DOCUMENTS.add_column("x", [1, 2, 3])}, {}, ColumnError, "is the text"),
        ({"q": DOCUMENTS.rename_column("id", "key")}, {}, ColumnError, "is the id"),
        ({"q": (DOCUMENTS, "key")}, {}, ColumnError, "is the text"),
        ({"q": (DOCUMENTS, "id", "body")}, {}, ColumnError, "'body'"),
        ({"q": DOCUMENTS.to_iterable_dataset()}, {}, InputTypeError, "stream"),
        (
            {"q": datasets.Dataset.from_dict({"id": [1, 1], "text": ["x", "y"]})},
            {},
            DuplicateIdError,
            "rows 0 and 1",
        ),
    ],
)
def test_refused(lookups: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_ids(lookups, **options)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ({"query_id": [9], "document_ids": [["a"]]}, UnknownIdError, "'query_id': 9 is no id"),
        ({"query_id": [7]}, ColumnError, "document_ids"),
        ({"query_id": [7, 8], "document_ids": [["a"], ["a", "b"]]}, ColumnError, r"\[1, 2\]"),
        ({"query_id": [7], "document_ids": [[]]}, ColumnError, "not empty"),
        ({"query_id": [{}], "document_ids": [["a"]]}, ColumnError, "unhashable"),
        ([7], InputTypeError, "list"),
    ],
)
def test_rows_that_cannot_be_resolved(batch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve_ids(LOOKUPS)(batch)


def test_two_columns_of_one_name() -> None:
    both = resolve_ids({"query_id": QUERIES, "query_ids": QUERIES})
    with pytest.raises(ColumnError, match="both make 'query'"):
        both({"query_id": [7], "query_ids": [8]})
