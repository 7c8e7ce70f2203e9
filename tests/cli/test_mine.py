from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rankwright.data import load_data
from rankwright.mining import BM25, MiningOptions, mine, retrieve
from tests.cli.worlds import assert_refused, run, write_pairs


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected(beir: Path, count: int) -> dict[str, list[str]]:
    data = load_data(beir)
    qrels = data.qrels["train"]
    queries = {q: data.queries[q] for q in qrels}
    run_of = retrieve(BM25("auto"), data.corpus, queries, count + 2)
    mined = mine(run_of, qrels, MiningOptions(num_negatives=count), corpus=data.corpus)
    return {data.queries[q]: [data.corpus[d] for d in docs] for q, docs in mined.items()}


def test_triplets_are_what_mining_finds(beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    hardest = ("--sampling", "top", "--random-negatives", 0)
    done = run("mine", "--data", beir, "--output", path, "--negatives", 3, *hardest, "--json")
    assert done.code == 0, done.err
    wanted = expected(beir, 3)
    found: dict[str, list[str]] = {}
    for row in rows_of(path):
        assert list(row) == ["query", "positive", "negative"]
        assert row["positive"].startswith(row["query"])
        found.setdefault(row["query"], []).append(row["negative"])
    assert found == {query: docs for query, docs in wanted.items() if docs}
    assert done.json["rows"] == sum(map(len, found.values())) == done.json["negatives"]
    assert done.json["first_stage"] == "BM25"


def test_by_default_hard_and_random_ones_as_in_training(beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    assert run("mine", "--data", beir, "--output", path, "--negatives", 3).code == 0
    assert {sum(r["query"] == row["query"] for r in rows_of(path)) for row in rows_of(path)} == {5}


@pytest.mark.parametrize("shape", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_every_format_is_read_back(beir: Path, tmp_path: Path, shape: str, ending: str) -> None:
    path = tmp_path / f"mined{ending}"
    ask = ("mine", "--data", beir, "--output", path, "--format", shape, "--negatives", 2)
    done = run(*ask)
    if (shape, ending) == ("labeled-list", ".csv"):
        assert_refused(done, "labeled-list", ".jsonl")
        assert not path.exists()
        return
    assert done.code == 0, done.err
    data = load_data(path)
    source = load_data(beir)
    relevant = {
        (data.queries[q], data.corpus[d])
        for judged in data.qrels.values()
        for q, docs in judged.items()
        for d, grade in docs.items()
        if grade > 0
    }
    wanted = {(source.queries[q], source.corpus[d]) for q in source.qrels["train"] for d in
              source.qrels["train"][q]}  # fmt: skip
    assert relevant <= wanted
    # a query without negatives has no row
    assert len(relevant) >= len(wanted) - 3
    assert all(data.negatives[q] for q in data.queries)


def test_tuples_are_complete(beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    ask = ("mine", "--data", beir, "--output", path, "--format", "n-tuple", "--negatives", 2)
    assert run(*ask, "--random-negatives", 1, "--split", "all").code == 0
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["query", "positive", "negative_1", "negative_2", "negative_3"]
    assert all(len({*row.values()}) == 5 and all(row.values()) for row in rows)


def test_dense_search_with_a_margin(model: Path, beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ask = ("mine", "--data", beir, "--output", path, "--embedder", model)
    done = run(*ask, "--margin", 0.05, "--json")
    assert done.code == 0, done.err
    assert done.json["first_stage"] == "dense"


def test_the_data_flags_reach_the_loader(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    lines = [f"{row['query']},{row['document']},1" for row in rows_of(write_pairs(tmp_path / "p"))]
    path.write_text("search,page,clicked\n" + "\n".join(lines) + "\n")
    flags = ("--query-column", "search", "--document-column", "page", "--label-column", "clicked")
    output = tmp_path / "t.jsonl"
    assert run("mine", "--data", path, *flags, "--output", output).code == 0
    assert_refused(
        run("mine", "--data", path, "--query-column", "serach", "--output", tmp_path / "u.jsonl"),
        "serach", "clicked",
    )  # fmt: skip
    assert not (tmp_path / "u.jsonl").exists()


def test_mistakes_write_nothing(beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.jsonl"
    ask = ("mine", "--data", beir, "--output")
    assert_refused(run(*ask, path, "--format", "tuple"), "'tuple'", "n-tuple")
    assert_refused(run(*ask, path.with_suffix(".xls")), ".xls", ".parquet")
    assert_refused(run(*ask, path, "--negatives", 0), "mining.num_negatives")
    assert_refused(run(*ask, path, "--range-max", 2), "range_max=2")
    assert_refused(run(*ask, path, "--split", "val"), "no split 'val'")
    assert_refused(run(*ask, path, "--first-stage", "dense"), "--embedder")
    assert_refused(run(*ask, path, "--embedder", "./none"), "./none")
    assert_refused(run("mine", "--data", beir / "x", "--output", path), "does not exist")
    foreign = tmp_path / "a.run"
    foreign.write_text("q1 Q0 d2 1 1 x\n")
    assert_refused(run(*ask, path, "--first-stage", foreign, "--margin", 0.1), "margin", "a.run")
    assert not path.parent.exists()


def test_an_output_is_not_replaced(beir: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("mine")
    assert_refused(run("mine", "--data", beir, "--output", path), "exists already", "--overwrite")
    assert path.read_text() == "mine"
    assert run("mine", "--data", beir, "--output", path, "--overwrite").code == 0
    assert path.read_text() != "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.jsonl"]
