from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rankwright.data import read_run
from rankwright.model import CrossEncoder
from tests.cli.worlds import assert_refused, run, texts

QUERY = "sort a list"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "docs.txt"
    path.write_text("\n\n".join(texts(6).values()) + "\n")
    return path


def expected(model: Path, found: list[str]) -> list[tuple[int, float]]:
    ranked = CrossEncoder(str(model), precision="float32").rank(QUERY, found)
    return [(hit["corpus_id"], hit["score"]) for hit in ranked]


def test_ranks_as_the_library_does(model: Path, documents: Path) -> None:
    done = run(
        "rank", "--model", model, "--query", QUERY, "--documents", documents, "--json",
        "--precision", "float32",
    )  # fmt: skip
    assert done.code == 0, done.err
    ranking = done.json["ranking"]
    lines = list(texts(6).values())
    wanted = expected(model, lines)
    assert [hit["text"] for hit in ranking] == [lines[i] for i, _ in wanted]
    assert [hit["score"] for hit in ranking] == pytest.approx([score for _, score in wanted])
    assert [hit["rank"] for hit in ranking] == [1, 2, 3, 4, 5, 6]
    # the id is the line's number, and every second line is blank
    assert ranking[0]["id"] == str(2 * wanted[0][0] + 1)


def test_the_table(model: Path, documents: Path) -> None:
    done = run("rank", "--model", model, "--query", QUERY, "--documents", documents, "--top-k", 2)
    assert done.code == 0
    assert "rank" in done.out
    assert done.out.count("0.") >= 2
    assert "│    3 │" not in done.out


def test_long_texts_leave_room_for_the_numbers(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    row = {"id": "a-rather-long-name-of-a-document", "text": "sort a list of files " * 50}
    path.write_text(json.dumps(row))
    done = run("rank", "--model", model, "--query", QUERY, "--documents", path)
    [line] = [line for line in done.out.splitlines() if "a-rather" in line]
    assert re.search(r"│ +1 │ 0\.\d{4} │ a-rather-long-name-of-a\S* │ sort a list", line)
    assert max(map(len, done.out.splitlines())) <= 80


def test_standard_input(model: Path) -> None:
    done = run(
        "rank", "--model", model, "--query", QUERY, "--documents", "-", "--json",
        stdin="first\n\nsecond\n",
    )  # fmt: skip
    assert {hit["id"]: hit["text"] for hit in done.json["ranking"]} == {"1": "first", "3": "second"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", '{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n'),
        ("d.json", '[{"id": "a", "document": "one"}, {"id": "b", "document": "two"}]'),
        ("d.csv", "docid,passage\na,one\nb,two\n"),
        ("d.tsv", "id\ttext\na\tone\nb\ttwo\n"),
        ("d.jsonl", '{"_id": "a", "title": "", "text": "one"}\n{"_id": "b", "text": "two"}\n'),
    ],
)
def test_files_with_ids(model: Path, tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    done = run("rank", "--model", model, "--query", QUERY, "--documents", path, "--json")
    assert {hit["id"]: hit["text"] for hit in done.json["ranking"]} == {"a": "one", "b": "two"}


def test_many_queries_to_a_run_and_to_json_lines(model: Path, beir: Path, tmp_path: Path) -> None:
    base = ("rank", "--model", model, "--queries", beir / "queries.jsonl")
    base += ("--documents", beir / "corpus.jsonl", "--top-k", 3)
    done = run(*base, "--output", tmp_path / "a.run", "--json")
    assert done.json == {"output": str(tmp_path / "a.run"), "queries": 40}
    written = read_run(tmp_path / "a.run")
    assert len(written) == 40
    assert {len(found) for found in written.values()} == {3}
    lines = [json.loads(line) for line in run(*base, "--json").out.splitlines()]
    assert {row["query_id"]: {h["id"]: h["score"] for h in row["ranking"]} for row in lines} == (
        written
    )
    assert run(*base, "--output", tmp_path / "a.jsonl").code == 0
    assert [json.loads(row) for row in (tmp_path / "a.jsonl").read_text().splitlines()] == lines


def test_an_output_is_not_replaced(model: Path, beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    path.write_text("mine")
    base = ("rank", "--model", model, "--queries", beir / "queries.jsonl")
    base += ("--documents", beir / "corpus.jsonl", "--output", path)
    assert_refused(run(*base), "exists already", "--overwrite")
    assert path.read_text() == "mine"
    assert run(*base, "--overwrite").code == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"id": "a", "text": "one"}\n{"id": "a", "text": "two"}\n', ("line 2", "'a'")),
        ('{"id": "a", "text": "one"}\n{"id": "b", "text": " "}\n', ("line 2", "column 'text'")),
        ('{"id": "a", "words": "one"}\n', ("--document-column", "words")),
        ('{"text": 3}\n', ("line 1", "expected a text")),
        ('{"text": "one"\n', ("line 1", "not valid JSON")),
    ],
)
def test_broken_files(model: Path, tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    done = run("rank", "--model", model, "--query", QUERY, "--documents", path)
    assert_refused(done, "d.jsonl", *words)


def test_mistakes(model: Path, documents: Path, tmp_path: Path) -> None:
    ask = ("rank", "--model", model, "--documents", documents)
    assert_refused(run(*ask), "--query", "--queries")
    assert_refused(run(*ask, "--query", " "), "empty")
    assert_refused(run(*ask, "--queries", documents), "--output")
    assert_refused(run(*ask, "--queries", documents, "--output", "a.xls"), "a.xls", ".trec")
    assert_refused(run(*ask, "--query", "a", "--precision", "int4"), "int4")
    assert_refused(run(*ask, "--query", "a", "--max-length", 9999), "max_length=9999")
    assert_refused(run(*ask, "--query", "a", "--top-k", 0), "--top-k")
    other = ("rank", "--model", model, "--query", "a", "--documents")
    assert_refused(run(*other, documents.with_name("doc.txt")), "does not exist", "docs.txt")
    assert_refused(run(*other, tmp_path), ".jsonl")
    assert_refused(run(*other, "-", stdin=""), "Standard input holds no document")


def test_a_bad_model_folder(documents: Path, tmp_path: Path) -> None:
    ask = ("rank", "--query", QUERY, "--documents", documents, "--model")
    assert_refused(run(*ask, "./nowhere"), "There is no folder './nowhere'")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_refused(run(*ask, empty), "config.json")
    assert list(empty.iterdir()) == []
