from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankwright.data import LoadOptions, load_data
from rankwright.errors import (
    ColumnError,
    DataError,
    DataNotFoundError,
    EmptyDataError,
    FormatError,
    InputError,
    LabelError,
)

GOOD = '{"query": "a", "text": "b", "label": 1}\n'


@pytest.mark.parametrize(
    ("text", "kind", "line", "message"),
    [
        (GOOD + '{"query": "a", \n', FormatError, 2, "not valid JSON"),
        (GOOD + "\n" + "[1]\n", FormatError, 3, "expected a JSON object"),
        (GOOD + "x" * 500, FormatError, 2, "'x{60}…'"),
        ("[" * 100_000, FormatError, 1, "not valid JSON"),
        (
            GOOD + '{"query": " ", "text": "b", "label": 1}\n',
            EmptyDataError,
            2,
            "'query'.*is empty",
        ),
        (GOOD + '{"query": "a", "text": null, "label": 1}', EmptyDataError, 2, "'text'.*is empty"),
        (GOOD + '{"query": 5, "text": "b", "label": 1}', FormatError, 2, "found '5' of type int"),
        (GOOD + '{"query": "\\ud83d", "text": "b", "label": 1}', FormatError, 2, "surrogate"),
        (GOOD + '{"query": "a", "text": "b", "label": NaN}', LabelError, 2, "'label'.*is nan"),
        (GOOD + '{"query": "a", "text": "b", "label": "x"}', LabelError, 2, "found 'x'"),
        (GOOD + '{"query": "a", "text": "b", "label": -1}', LabelError, 2, "outside 0 to 100"),
        (GOOD + '{"query": "a", "text": "b"}', ColumnError, 2, "no 'label'"),
        (
            '{"query": "a", "text": "b"}\n{"query": "a", "text": "c", "label": 0}\n',
            ColumnError,
            2,
            "'label', which the first row has not",
        ),
        (
            '{"query": "a", "text": "b"}\n{"query": "a", "text": "c", "negative": "n"}\n',
            ColumnError,
            2,
            "'negative', which the first row has not",
        ),
        (
            '{"query": "a", "pos": ["b"], "neg": ["c", ""]}\n',
            EmptyDataError,
            1,
            "column 'neg'",
        ),
        ('{"query": "a", "pos": [], "neg": ["c"]}\n', EmptyDataError, 1, "list of documents"),
        ('{"query": "a", "pos": ["b"], "neg": {"c": 1}}\n', FormatError, 1, "of type dict"),
        ('{"query": "a", "docs": ["b"], "labels": [1, 0]}\n', LabelError, 1, "a list of 1 labels"),
        ('{"query": "a", "docs": ["b"], "labels": 1}\n', LabelError, 1, "found '1'"),
        ("\n\n", EmptyDataError, None, "no rows"),
        ('{"query": "a", "text": "b", "label": 0}\n', EmptyDataError, None, "not one of 1 pairs"),
        ('{"a": "a", "b": "b", "c": "c"}\n', ColumnError, None, "found: 'a', 'b', 'c'"),
        ('{"a": "a", "score": 1}\n', ColumnError, None, "found: 'a', 'score'"),
        ("{}\n", ColumnError, None, "found: none"),
    ],
)
def test_jsonl(
    tmp_path: Path, text: str, kind: type[DataError], line: int | None, message: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(kind, match=message) as caught:
        load_data(path)
    assert caught.value.path == str(path)
    assert caught.value.line == line
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("text", "kind", "line", "message"),
    [
        ("query,text\na,b\nc,d,e\n", FormatError, 3, "3 fields, but the header has 2"),
        ('query,text\n"a\nb",c\nd,\n', EmptyDataError, 4, "column 'text'"),
        ('query,text\na,"b\n', FormatError, 2, "bad quoting"),
        ('query,text\na,"b"c\n', FormatError, 2, "bad quoting"),
        ("query,text,label\na,b,\n", LabelError, 2, "missing label"),
        ("query,query\na,b\n", ColumnError, 1, "'query' more than once"),
        ("how do I sort a list?,use sorted\na,b\n", ColumnError, 1, "not look like a header"),
        ("1,2\na,b\n", ColumnError, 1, "not look like a header"),
        ("query;text\na;b\n", ColumnError, None, "holds ';'"),
        ("query,text\n\n", EmptyDataError, None, "header line but no rows"),
        ("", EmptyDataError, None, "is empty"),
    ],
)
def test_csv(
    tmp_path: Path, text: str, kind: type[DataError], line: int | None, message: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(kind, match=message) as caught:
        load_data(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", EmptyDataError, "is empty"),
        ("[]", EmptyDataError, "no rows"),
        ('{"rows": []}', FormatError, "expected a list of objects"),
        ('[{"query": "a", "text": "b"}, 3]', FormatError, "row 2: expected an object, found '3'"),
        ('[\n{"query": "a",}\n]', FormatError, "line 2: not valid JSON"),
        (GOOD + GOOD, FormatError, r"looks like JSON Lines"),
        ("[" * 100_000, FormatError, "not valid JSON"),
        ('[{"query": "a", "text": "b"}, {"query": "a", "text": ""}]', EmptyDataError, "row 2: the"),
    ],
)
def test_json(tmp_path: Path, text: str, kind: type[DataError], message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(kind, match=message):
        load_data(tmp_path / "x.json")


def test_row_numbers_of_parquet(tmp_path: Path) -> None:
    table = pa.table({"query": ["a"] * 1500 + [None], "text": ["b"] * 1501})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(EmptyDataError, match="column 'query': row 1501"):
        load_data(tmp_path / "x.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "x.parquet")
    with pytest.raises(EmptyDataError, match="no rows"):
        load_data(tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.arrow"])
@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.9])
def test_truncated_binary_files(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    table = pa.table({"query": [f"a{i}" for i in range(999)], "text": ["b"] * 999})
    if name == "x.parquet":
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_stream if name == "stream.arrow" else pa.ipc.new_file
        with make(path, table.schema) as writer:
            writer.write_table(table)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(DataError) as caught:
        load_data(path)
    assert caught.value.path == str(path)
    assert "truncated" in str(caught.value)


def test_truncated_and_false_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    whole = gzip.compress("".join(
        json.dumps({"query": f"a{i * 7919 % 1000}", "text": f"b{i}"}) + "\n" for i in range(2000)
    ).encode())  # fmt: skip
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"gzip file is truncated or damaged.*gzip -t"):
        load_data(path)
    path.write_bytes(GOOD.encode())
    with pytest.raises(FormatError, match="truncated or damaged"):
        load_data(path)


def test_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD.encode() + '{"query": "café", "text": "b", "label": 1}'.encode("latin-1"))
    with pytest.raises(FormatError, match="byte 0xe9 after.*caf.*is not UTF-8.*iconv") as caught:
        load_data(path)
    assert caught.value.line == 2
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(FormatError, match="UTF-16"):
        load_data(path)


def test_missing_files_suggest_close_names(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(GOOD)
    with pytest.raises(DataNotFoundError, match=r"Did you mean .*/train\.jsonl\?"):
        load_data(tmp_path / "trian.jsonl")
    with pytest.raises(DataNotFoundError, match=r"Did you mean"):
        load_data(str(tmp_path / "train.json"))
    with pytest.raises(DataNotFoundError, match=r"holds: train\.jsonl"):
        load_data(tmp_path / "zzz")
    with pytest.raises(DataNotFoundError, match="Neither does the folder"):
        load_data(tmp_path / "no" / "where.csv")


def test_a_missing_file_is_not_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"train\.jsonl does not exist"):
        load_data("train.jsonl")


def test_unknown_kinds(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(FormatError, match=r"expected one of \.jsonl"):
        load_data(tmp_path / "x.xlsx")
    with pytest.raises(FormatError, match=r"holds x\.xlsx.*corpus\.jsonl.*save_to_disk"):
        load_data(tmp_path)
    (tmp_path / "train.csv").write_text("query,text\na,b\n")
    (tmp_path / "training.jsonl").write_text(GOOD)
    with pytest.raises(FormatError, match=r"train\.csv and training\.jsonl are both the train"):
        load_data(tmp_path)


def test_a_query_without_a_database(tmp_path: Path) -> None:
    (tmp_path / "shop.jsonl").write_text(GOOD)
    with pytest.raises(InputError, match="sqlite:///"):
        load_data(tmp_path / "shop.jsonl", LoadOptions(sql="SELECT 1"))


def test_too_few_queries_to_split(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(GOOD)
    with pytest.raises(EmptyDataError, match="1 different queries cannot be split"):
        load_data(tmp_path / "x.jsonl")


def test_drop_empty_leaves_whole_rows_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        GOOD
        + '{"query": "only here", "text": "", "label": 1}\n'
        + '{"query": "c", "text": "d", "label": 1}\n'
    )
    data = load_data(path, LoadOptions(drop_empty=True, dev_fraction=0, test_fraction=0))
    assert list(data.queries.values()) == ["a", "c"]
    assert "1 rows with an empty text" in caplog.text
