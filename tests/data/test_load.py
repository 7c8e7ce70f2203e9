from __future__ import annotations

import csv
import gzip
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankwright.data import LoadOptions, RankingData, load_data, write_jsonl
from rankwright.errors import InputError, InputTypeError, SaveError

Rows = list[dict[str, Any]]
WHOLE = LoadOptions(dev_fraction=0, test_fraction=0)
ROWS: Rows = [
    {"query": "how to sort?", "document": "use sorted()", "label": 1},
    {"query": "how to sort?", "document": 'a, "quoted"\nline', "label": 0},
    {"query": "wie öffnen?", "document": "use open()", "label": 2},
    {"query": "wie öffnen?", "document": "use sorted()", "label": 0},
]


def as_jsonl(rows: Rows, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_odd_jsonl(rows: Rows, path: Path) -> None:
    text = "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n \r\n")


def as_json(rows: Rows, path: Path) -> None:
    path.write_text(json.dumps(rows, indent=1))


def as_json_data(rows: Rows, path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "data": rows}))


def as_csv(rows: Rows, path: Path) -> None:
    delimiter = "\t" if ".tsv" in path.name else ","
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def as_parquet(rows: Rows, path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def as_arrow_file(rows: Rows, path: Path) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def as_arrow_stream(rows: Rows, path: Path) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def packed(write: Callable[[Rows, Path], None]) -> Callable[[Rows, Path], None]:
    def run(rows: Rows, path: Path) -> None:
        plain = path.with_suffix("")
        write(rows, plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    return run


WRITERS: dict[str, tuple[str, Callable[[Rows, Path], None]]] = {
    "jsonl": ("x.jsonl", as_jsonl),
    "odd jsonl": ("x.jsonl", as_odd_jsonl),
    "ndjson": ("x.ndjson", as_jsonl),
    "json": ("x.json", as_json),
    "json data": ("x.json", as_json_data),
    "csv": ("x.csv", as_csv),
    "tsv": ("x.TSV".lower(), as_csv),
    "parquet": ("x.parquet", as_parquet),
    "arrow file": ("x.arrow", as_arrow_file),
    "arrow stream": ("x.arrow", as_arrow_stream),
    "jsonl.gz": ("x.jsonl.gz", packed(as_jsonl)),
    "csv.gz": ("x.csv.gz", packed(as_csv)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_data(tmp_path: Path, kind: str) -> None:
    name, write = WRITERS[kind]
    write(ROWS, tmp_path / name)
    data = load_data(tmp_path / name, WHOLE)
    assert data.queries == {"q0": "how to sort?", "q1": "wie öffnen?"}
    assert data.corpus == {"d0": "use sorted()", "d1": 'a, "quoted"\nline', "d2": "use open()"}
    assert data.qrels == {"train": {"q0": {"d0": 1, "d1": 0}, "q1": {"d2": 2, "d0": 0}}}
    assert data.negatives == {"q0": ["d1"], "q1": ["d0"]}
    assert data.source == str(tmp_path / name)


def from_rows(tmp_path: Path, rows: Rows, options: LoadOptions = WHOLE) -> RankingData:
    as_jsonl(rows, tmp_path / "x.jsonl")
    return load_data(tmp_path / "x.jsonl", options)


def test_triplets_with_numbered_negatives(tmp_path: Path) -> None:
    row = {"anchor": "q", "positive": "p", "negative_2": "n2", "negative_1": "n1", "scores": [1, 2]}
    data = from_rows(tmp_path, [row, {**row, "negative_2": None}, {**row, "negative_1": "p2"}])
    assert data.corpus == {"d0": "p", "d1": "n1", "d2": "n2", "d3": "p2"}
    assert data.qrels["train"] == {"q0": {"d0": 1}}
    assert data.negatives == {"q0": ["d1", "d2", "d3"]}


def test_flag_embedding(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["p1", "p2"], "neg": ["n1", "n2"], "pos_scores": [1.5, 2],
           "neg_scores": [0.1, 0.2], "prompt": "Judge."}  # fmt: skip
    data = from_rows(tmp_path, [row, {**row, "query": "r", "neg": []}])
    assert data.qrels["train"] == {"q0": {"d0": 1, "d1": 1}, "q1": {"d0": 1, "d1": 1}}
    assert data.negatives == {"q0": ["d2", "d3"]}


def test_lists_with_labels(tmp_path: Path) -> None:
    row = {"query": "q", "documents": ["a", "b", "c"], "labels": [2, 0, 1]}
    data = from_rows(tmp_path, [row])
    assert data.qrels["train"] == {"q0": {"d0": 2, "d1": 0, "d2": 1}}
    assert data.negatives == {"q0": ["d1"]}


def test_pairs_without_label_are_relevant(tmp_path: Path) -> None:
    data = from_rows(tmp_path, [{"text1": "a", "text2": "b"}, {"text1": "c", "text2": "b"}])
    assert data.qrels["train"] == {"q0": {"d0": 1}, "q1": {"d0": 1}}


def test_named_columns_and_threshold(tmp_path: Path) -> None:
    rows = [
        {"a": "q", "b": "d", "c": "n", "rating": 0.4},
        {"a": "q", "b": "e", "c": "n", "rating": 0.9},
    ]
    options = LoadOptions(
        query_column="a", document_column="b", negative_columns=("c",), label_column="rating",
        dev_fraction=0, test_fraction=0, relevance_threshold=0.3,
    )  # fmt: skip
    data = from_rows(tmp_path, rows, options)
    assert data.qrels["train"] == {"q0": {"d0": 1, "d2": 1}}
    assert data.negatives == {"q0": ["d1"]}


@pytest.mark.parametrize(
    ("name", "value", "warns"),
    [
        ("is_duplicate", 0, True),
        ("is_duplicate", "0", True),
        ("row_id", 7, False),
        ("note", "x", False),
    ],
)
def test_a_column_that_may_be_the_label_is_not_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: Any, warns: bool
) -> None:
    from_rows(tmp_path, [{"question": "a", "answer": "b", name: value}])
    assert ("every row counts as relevant, and 'is_duplicate'" in caplog.text) is warns
    caplog.clear()
    from_rows(tmp_path, [{"question": "a", "answer": "b", "label": 1, name: value}])
    assert caplog.text == ""


def test_contradictions_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"query": "q", "text": "a", "label": label} for label in (0, 2, 1)]
    with caplog.at_level(logging.WARNING, "rankwright"):
        data = from_rows(tmp_path, rows)
    assert data.qrels["train"] == {"q0": {"d0": 2}}
    assert data.negatives == {}
    assert "labels 2 pairs again" in caplog.text
    assert "names 1 documents both" in caplog.text


def test_the_scale_is_decided_over_all_splits(tmp_path: Path) -> None:
    # 0.6 alone looks like a probability; beside 4.5 it is a low value of a scale
    as_jsonl([{"query": "a", "text": "x", "score": 4.5}], tmp_path / "train.jsonl")
    as_jsonl([{"query": "b", "text": "x", "score": 0.6}], tmp_path / "test.jsonl")
    data = load_data(tmp_path, LoadOptions(dev_fraction=0))
    assert data.qrels == {"train": {"q0": {"d0": 4}}, "test": {"q1": {"d0": 0}}}


def test_folder_of_split_files_of_different_formats(tmp_path: Path) -> None:
    as_parquet(ROWS[:2], tmp_path / "train.parquet")
    as_csv(ROWS[2:], tmp_path / "validation.csv")
    as_jsonl(ROWS[2:3], tmp_path / "test.jsonl")
    (tmp_path / "README.md").write_text("about")
    data = load_data(tmp_path)
    assert data.qrels == {
        "train": {"q0": {"d0": 1, "d1": 0}},
        "dev": {"q1": {"d2": 2, "d0": 0}},
        "test": {"q1": {"d2": 2}},
    }


def test_missing_splits_are_carved_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = [{"query": f"query {i}", "document": f"document {i}"} for i in range(40)]
    sides = []
    for ordered in (rows, rows[::-1]):
        data = from_rows(tmp_path, ordered, LoadOptions(seed=3))
        sides.append({data.queries[q]: s for s, judged in data.qrels.items() for q in judged})
    assert sides[0] == sides[1]
    assert sorted(sides[0].values()) == ["dev"] * 4 + ["test"] * 4 + ["train"] * 32


def test_max_queries(tmp_path: Path) -> None:
    rows = [{"query": f"query {i}", "document": f"document {i}"} for i in range(40)]
    data = from_rows(tmp_path, rows, LoadOptions(max_queries=3))
    assert {split: len(judged) for split, judged in data.qrels.items()} == {
        "train": 3, "dev": 3, "test": 3}  # fmt: skip
    assert len(data.corpus) == 40


def test_long_fields_and_decimals(tmp_path: Path) -> None:
    long = "word " * 60_000
    as_csv([{"query": "q", "document": long, "label": 1}], tmp_path / "x.csv")
    assert load_data(tmp_path / "x.csv", WHOLE).corpus == {"d0": long}
    as_parquet([{"query": "q", "document": "d", "label": Decimal("2.00")}], tmp_path / "x.parquet")
    assert load_data(tmp_path / "x.parquet", WHOLE).qrels["train"] == {"q0": {"d0": 2}}


def test_sources_that_are_none() -> None:
    with pytest.raises(InputTypeError, match="not a list"):
        load_data(["a"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty"):
        load_data(" ")


def test_jsonl_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl([{"a": "é\u2028"}, {"a": 1}], path)
    assert path.read_bytes() == '{"a": "é\u2028"}\n{"a": 1}\n'.encode()
    with pytest.raises(InputTypeError, match="row 2"):
        write_jsonl([{"a": 1}, {"a": object()}], path)
    with pytest.raises(InputError, match="row 1"):
        write_jsonl([{"a": float("nan")}], path)
    with pytest.raises(InputError, match="row 1"):
        write_jsonl([{"a": "\ud83d"}], path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SaveError, match="No space left"):
        write_jsonl([{"a": 2}], path)
    assert path.read_bytes() == '{"a": "é\u2028"}\n{"a": 1}\n'.encode()
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_gzipped_output_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl([{"a": 1}], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == b'{"a": 1}\n'


def test_reading_text_files_loads_nothing_heavy(tmp_path: Path) -> None:
    as_jsonl(ROWS, tmp_path / "x.jsonl")
    code = (
        "import sys; import rankwright.data; before = set(sys.modules)\n"
        "assert 'rankwright.data.load' not in before\n"
        "from rankwright.data import *\n"
        f"load_data({str(tmp_path / 'x.jsonl')!r}, LoadOptions(dev_fraction=0, test_fraction=0))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'sqlalchemy', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    import rankwright.data

    for name in rankwright.data.__all__:
        assert getattr(rankwright.data, name) is not None
    assert sorted(rankwright.data.__all__) == sorted(set(rankwright.data.__all__))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rankwright.data.nothing
