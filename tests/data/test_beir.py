from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rankwright.data import LoadOptions, RankingData, load_data, write_beir
from rankwright.errors import (
    ColumnError,
    DataError,
    DataNotFoundError,
    DuplicateIdError,
    EmptyDataError,
    FormatError,
    InputError,
    LabelError,
    UnknownIdError,
)

CORPUS = [
    {"_id": "d1", "title": "Title", "text": "one"},
    {"_id": "d2", "title": "", "text": "two"},
    {"_id": "d3", "text": "three"},
    {"_id": 4, "title": "Four", "text": ""},
]
QUERIES = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(6)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def build(folder: Path, **files: str) -> Path:
    """A small folder in which some files are replaced or added."""
    content = {
        "corpus.jsonl": lines(CORPUS),
        "queries.jsonl": lines(QUERIES),
        "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq0\td1\t2\nq0\td2\t0\nq1\t4\t1\n",
        "qrels/validation.tsv": "query-id\tcorpus-id\tscore\nq2\td1\t1\n",
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq3\td3\t1\n",
        "runs/test.trec": "q3 Q0 d2 1 2 t\nq3 Q0 d3 2 1 t\n",
    }
    content |= files
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_reads_everything(tmp_path: Path) -> None:
    data = load_data(build(tmp_path))
    assert data.corpus == {"d1": "Title one", "d2": "two", "d3": "three", "4": "Four"}
    assert data.queries == {f"q{i}": f"query {i}" for i in range(6)}
    assert data.qrels == {
        "train": {"q0": {"d1": 2, "d2": 0}, "q1": {"4": 1}},
        "dev": {"q2": {"d1": 1}},
        "test": {"q3": {"d3": 1}},
    }
    assert data.negatives == {"q0": ["d2"]}
    assert data.candidates == {"test": {"q3": {"d2": 2.0, "d3": 1.0}}}
    assert data.source == str(tmp_path)


def test_threshold_shifts_grades(tmp_path: Path) -> None:
    data = load_data(build(tmp_path), LoadOptions(relevance_threshold=2))
    assert data.qrels["train"] == {"q0": {"d1": 1, "d2": 0}, "q1": {"4": 0}}
    assert data.negatives["q1"] == ["4"]


def test_only_a_test_split_is_carved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path)
    for name in ("train", "validation"):
        (tmp_path / "qrels" / f"{name}.tsv").unlink()
    rows = "".join(f"q{i}\td1\t1\n" for i in range(6))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    with caplog.at_level(logging.WARNING, "rankwright"):
        data = load_data(tmp_path)
    assert {split: len(judged) for split, judged in data.qrels.items()} == {
        "train": 4, "dev": 1, "test": 1}  # fmt: skip
    assert "no train split" in caplog.text


def test_gzipped_and_without_header(tmp_path: Path) -> None:
    build(tmp_path)
    plain = (tmp_path / "corpus.jsonl").read_bytes()
    (tmp_path / "corpus.jsonl").unlink()
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "qrels" / "train.tsv").write_text("q0\td1\t1\n")
    assert load_data(tmp_path).qrels["train"] == {"q0": {"d1": 1}}


def test_extra_splits_are_kept(tmp_path: Path) -> None:
    data = load_data(build(tmp_path))
    assert list(data.qrels) == ["train", "dev", "test"]
    (tmp_path / "qrels" / "test_public.tsv").write_text("q4\td1\t1\n")
    assert load_data(tmp_path).qrels["test_public"] == {"q4": {"d1": 1}}


@pytest.mark.parametrize(
    ("files", "kind", "message"),
    [
        (
            {"qrels/test.tsv": "q3\tnone\t1\n"},
            UnknownIdError,
            r"qrels/test\.tsv, line 1: the id 'none' is not in corpus\.jsonl",
        ),
        (
            {"qrels/test.tsv": "h\th\th\nq9\td1\t1\n"},
            UnknownIdError,
            r"line 2: the id 'q9' is not in queries\.jsonl",
        ),
        (
            {"qrels/test.tsv": "q3 d1 1\n"},
            FormatError,
            "line 1: expected 3 columns separated by tab",
        ),
        ({"qrels/test.tsv": "h\th\th\nq3\td1\t0.5\n"}, LabelError, "line 2: the grade '0.5'"),
        ({"qrels/test.tsv": "h\th\th\nq3\td1\tNaN\n"}, LabelError, "line 2: the grade 'NaN'"),
        ({"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"}, EmptyDataError, "no judgements"),
        ({"qrels/test.tsv": "q3\td1\t1\nq3\td1\t2\n"}, DuplicateIdError, "line 2.*as 1 and as 2"),
        ({"qrels/dev.tsv": "q2\td1\t1\n"}, FormatError, "dev.tsv and validation.tsv are both"),
        (
            {"runs/test.trec": "q3 Q0 d9 1 1 t\n"},
            UnknownIdError,
            r"test\.trec, line 1: the id 'd9'",
        ),
        (
            {"corpus.jsonl": '{"_id": "a", "text": "x"}\n{"_id": "b", "text": " "}\n'},
            EmptyDataError,
            r"corpus\.jsonl, line 2, column 'text': the text is empty",
        ),
        (
            {"queries.jsonl": '{"_id": "q", "text": ""}\n'},
            EmptyDataError,
            r"queries\.jsonl, line 1",
        ),
        (
            {"queries.jsonl": '{"_id": "q", "text": "a"}\n\n{"_id": "q", "text": "a"}\n'},
            DuplicateIdError,
            "line 3: the id 'q' is already used on line 1",
        ),
        (
            {"queries.jsonl": '{"id": "q", "text": "a"}\n'},
            ColumnError,
            "no field '_id'.*'id', 'text'",
        ),
        ({"queries.jsonl": '{"_id": "q", "query": "a"}\n'}, ColumnError, "no field 'text'"),
        ({"queries.jsonl": '{"_id": null, "text": "a"}\n'}, EmptyDataError, "line 1, column '_id'"),
        (
            {"queries.jsonl": '{"_id": true, "text": "a"}\n'},
            FormatError,
            "found 'True' of type bool",
        ),
        ({"queries.jsonl": '{"_id": "q", "text": ["a"]}\n'}, FormatError, "of type list"),
        (
            {"corpus.jsonl": '{"_id": "q", "title": 3, "text": "a"}\n'},
            FormatError,
            "column 'title'",
        ),
        ({"corpus.jsonl": "\n"}, EmptyDataError, "no rows"),
        ({"negatives.jsonl": '{"_id": "q0", "negatives": ["d9"]}\n'}, UnknownIdError, "'d9'"),
        ({"negatives.jsonl": '{"_id": "q0", "negatives": "d1"}\n'}, FormatError, "expected a list"),
    ],
)
def test_errors_name_file_and_line(
    tmp_path: Path, files: dict[str, str], kind: type[DataError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        load_data(build(tmp_path, **files))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("corpus.jsonl", r"BEIR corpus .*corpus\.jsonl does not exist"),
        ("queries.jsonl", "BEIR queries"),
        ("qrels", "holds no judgements"),
    ],
)
def test_missing_parts(tmp_path: Path, gone: str, message: str) -> None:
    build(tmp_path)
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(DataNotFoundError, match=message):
        load_data(tmp_path)


def test_nothing_relevant(tmp_path: Path) -> None:
    with pytest.raises(EmptyDataError, match="not one judgement is relevant"):
        load_data(build(tmp_path), LoadOptions(relevance_threshold=3))


def test_empty_texts_are_dropped_only_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path)
    (tmp_path / "queries.jsonl").write_text(lines([{"_id": "q1", "text": " "}, QUERIES[0],
                                                   *QUERIES[2:]]))  # fmt: skip
    with pytest.raises(EmptyDataError, match="--drop-empty"):
        load_data(tmp_path)
    with caplog.at_level(logging.WARNING, "rankwright"):
        data = load_data(tmp_path, LoadOptions(drop_empty=True))
    assert "1 rows with an empty text were dropped" in caplog.text
    assert "q1" not in data.queries
    assert data.qrels["train"] == {"q0": {"d1": 2, "d2": 0}}


def test_a_document_that_is_both_counts_as_relevant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, **{"negatives.jsonl": '{"_id": "q0", "negatives": ["d1", "d3", "d3"]}\n'})
    with caplog.at_level(logging.WARNING, "rankwright"):
        assert load_data(tmp_path).negatives == {"q0": ["d2", "d3"]}
    assert "names 1 documents both as relevant" in caplog.text


DATA = RankingData(
    queries={"q 0": "erste\u2028Frage", "q1": "zweite", "q2": "dritte"},
    corpus={"d0": 'a "b"', "d1": "b\nc", "d2": "Ü"},
    qrels={
        "train": {"q 0": {"d0": 3, "d1": -1}},
        "dev": {"q1": {"d1": 1}},
        "test": {"q2": {"d2": 1}},
    },
    negatives={"q 0": ["d1", "d2"]},
    candidates={"test": {"q2": {"d1": 0.1, "d2": 1 / 3}}},
)


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    write_beir(DATA, tmp_path / "out")
    read = load_data(tmp_path / "out")
    for name in ("queries", "corpus", "qrels", "negatives", "candidates"):
        assert getattr(read, name) == getattr(DATA, name)
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    bad = RankingData({"a\tb": "x"}, {"d": "y"}, {"train": {"a\tb": {"d": 1}}})
    with pytest.raises(InputError, match="cannot be written"):
        write_beir(bad, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
