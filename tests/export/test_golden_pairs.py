from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rankwright.data import RankingData
from rankwright.errors import DataError, DataNotFoundError, FormatError, InputError
from rankwright.export.golden_pairs import PairOptions, choose_pairs
from rankwright.export.sample import sample_queries
from rankwright.model.folder import ModelFolder


def data(queries: int = 40) -> RankingData:
    corpus = {f"d{i}": f"word{i} word{i + 1} common" for i in range(queries)}
    names = {f"q{i}": f"word{i} common" for i in range(queries)}
    half = queries // 2
    return RankingData(
        names,
        corpus,
        {
            "train": {f"q{i}": {f"d{i}": 1} for i in range(half)},
            "test": {f"q{i}": {f"d{i}": 2, f"d{i - 1}": 0} for i in range(half, queries)},
        },
        source="somewhere/data",
    )


def test_from_data(tmp_path: Path) -> None:
    given = data()
    options = PairOptions(data=given, queries=8, documents=6, calibration=30)
    chosen = choose_pairs(ModelFolder(tmp_path), options)
    assert chosen.source == "8 test queries of data"
    assert len(chosen.queries) == 8
    test_texts = {given.queries[q]: q for q in given.qrels["test"]}
    for query in chosen.queries:
        name = test_texts[query.query]
        assert len(query.documents) == len(set(query.documents)) == 6
        assert query.labels is not None
        grades = dict(zip(query.documents, query.labels, strict=True))
        assert grades[given.corpus[f"d{name[1:]}"]] == 2
        assert sum(query.labels) == 2
    golden = {query.query for query in chosen.queries}
    assert len(chosen.calibration) == 30
    assert not golden & {query for query, _ in chosen.calibration}  # other queries
    # nDCG is proven on the other test queries, and ranges are not calibrated on those
    proof = {query.query for query in chosen.proof}
    assert proof == set(test_texts) - golden
    assert not proof & {query for query, _ in chosen.calibration}
    few = choose_pairs(ModelFolder(tmp_path), replace(options, proof=5)).proof
    assert len(few) == 5
    again = choose_pairs(ModelFolder(tmp_path), options)
    assert again == chosen
    other = choose_pairs(ModelFolder(tmp_path), PairOptions(data=given, queries=8, seed=1))
    assert {q.query for q in other.queries} != golden


def test_from_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"query": "a", "document": "x", "label": 1},
        {"query": "a", "document": "y", "label": 0},
        {"query": "b", "documents": ["x", "y", "z"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = choose_pairs(ModelFolder(tmp_path), PairOptions(file=path, documents=2))
    found = [(q.query, q.documents, q.labels) for q in chosen.queries]
    assert found == [("a", ("x", "y"), (1, 0)), ("b", ("x", "y"), None)]
    assert set(chosen.calibration) == {("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")}
    assert not chosen.sample


def test_from_another_models_golden_pairs(exported: Path, tmp_path: Path) -> None:
    options = PairOptions(file=exported / "golden.json")
    assert choose_pairs(ModelFolder(tmp_path), options).queries == sample_queries()


def test_sample_pairs_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = choose_pairs(ModelFolder(tmp_path), PairOptions())
    assert chosen.sample
    assert "sample pairs in English" in caplog.text
    texts = [document for query in chosen.queries for document in query.documents]
    assert max(map(len, texts)) > 2500
    assert min(map(len, texts)) < 40
    for query in chosen.queries:
        assert len(set(query.documents)) == len(query.documents) >= 6


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": " ", "document": "x"}, "line 2: 'query' is ' '"),
        ({"query": "a"}, "line 2: expected 'document' with a text"),
        ({"query": "a", "documents": []}, "expected 'document' with a text"),
        ({"query": "a", "documents": ["x", 3]}, "expected 'document' with a text"),
        ({"query": "a", "document": "x", "label": 0.5}, "one whole number per document"),
        ({"query": "a", "documents": ["x"], "labels": [1, 2]}, "'labels' is"),
    ],
)
def test_malformed_lines(tmp_path: Path, row: object, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"query": "a", "document": "b"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(FormatError, match=message):
        choose_pairs(ModelFolder(tmp_path), PairOptions(file=path))


def test_mistakes(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    with pytest.raises(InputError, match="give one of them"):
        PairOptions(data="a", file="b")
    with pytest.raises(InputError, match="documents=1"):
        PairOptions(documents=1)
    with pytest.raises(InputError, match="proof=-1"):
        PairOptions(proof=-1)
    with pytest.raises(DataNotFoundError, match="is not there"):
        choose_pairs(folder, PairOptions(file=tmp_path / "no.jsonl"))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(FormatError, match=r"named golden\.json"):
        choose_pairs(folder, PairOptions(file=tmp_path / "x.json"))
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no golden pairs"):
        choose_pairs(folder, PairOptions(file=tmp_path / "e.jsonl"))
    with pytest.raises(DataError, match="no judged queries"):
        choose_pairs(folder, PairOptions(data=RankingData({}, {"d": "x"}, {})))
