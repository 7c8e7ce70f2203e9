from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.errors import ColumnError
from tests.integrations.texts import QUERY, TEXTS

pd = pytest.importorskip("pandas")

QUERIES = {"q2": QUERY, "q1": "open the table"}


def candidates() -> Any:
    rows = [
        {"qid": qid, "query": query, "docno": f"d{n}", "text": text, "score": -n, "rank": n, "x": n}
        for n, text in enumerate(TEXTS)
        for qid, query in QUERIES.items()
    ]
    return pd.DataFrame(rows, index=range(10, 10 + len(rows)))


def reranker(model: Any, **options: Any) -> Any:
    from rankwright.integrations.pyterrier import RankwrightReranker

    return RankwrightReranker(model, **options)


def test_scores_and_ranks(model: CrossEncoder) -> None:
    before = candidates()
    given = before.copy()
    found = reranker(model)(given) if hasattr(reranker(model), "search") else None
    result = reranker(model).transform(given)
    assert found is None or found.equals(result)
    assert given.equals(before)
    assert list(result.columns) == ["qid", "query", "docno", "text", "x", "score", "rank"]
    rows = []
    for qid, query in QUERIES.items():  # in the order they came in
        scores = model.predict([(query, text) for text in TEXTS])
        order = sorted(range(len(TEXTS)), key=lambda i: -scores[i])
        rows += [(qid, f"d{i}", i, float(scores[i]), rank) for rank, i in enumerate(order)]
    wanted = pd.DataFrame(rows, columns=["qid", "docno", "x", "score", "rank"])
    # Scores of the same pair in another batch may differ in the last bits.
    pd.testing.assert_frame_equal(result[list(wanted)], wanted, check_exact=False, rtol=1e-6)
    assert result.index.tolist() == list(range(len(rows)))


def test_equal_scores_keep_their_order(model: CrossEncoder) -> None:
    frame = candidates().query("qid == 'q2'").assign(text="sort")
    assert reranker(model).transform(frame)["docno"].tolist() == ["d0", "d1", "d2", "d3"]


def test_no_rows_load_no_model() -> None:
    transformer = reranker("there/is-none")
    result = transformer.transform(candidates().iloc[:0])
    assert list(result.columns) == ["qid", "query", "docno", "text", "x", "score", "rank"]
    assert len(result) == 0


def test_columns(model: CrossEncoder) -> None:
    frame = candidates()
    with pytest.raises(ColumnError, match=r"text is missing; there are qid, query.*get_text"):
        reranker(model).transform(frame.drop(columns="text"))
    renamed = frame.rename(columns={"text": "body"})
    other = reranker(model, text_field="body").transform(renamed)
    assert other["score"].tolist() == reranker(model).transform(frame)["score"].tolist()
    frame.loc[11, "text"] = None
    with pytest.raises(ColumnError, match=r"column 'text': row 1 holds (None|nan)"):
        reranker(model).transform(frame)


def test_in_pipelines(folder: Path) -> None:
    pt = pytest.importorskip("pyterrier")
    transformer = reranker(folder)
    assert isinstance(transformer, pt.Transformer)
    frame = candidates()
    pipeline = pt.Transformer.from_df(frame) >> transformer % 2
    topics = frame[["qid", "query"]].drop_duplicates()
    best = pipeline.transform(topics)
    alone = transformer.transform(frame)
    columns = ["qid", "docno", "score"]
    expected = alone[alone["rank"] < 2].sort_values(["qid", "rank"])[columns]
    got = best.sort_values(["qid", "rank"])[columns]
    assert got.values.tolist() == expected.values.tolist()
    assert pt.inspect.transformer_inputs(transformer) == [["qid", "query", "docno", "text"]]
    outputs = pt.inspect.transformer_outputs(
        reranker("no/model"), ["qid", "query", "docno", "text"]
    )
    assert outputs == ["qid", "query", "docno", "text", "score", "rank"]


def test_without_pyterrier() -> None:
    program = """
import sys
class Hidden:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "pyterrier":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Hidden())
import pandas as pd
from rankwright.integrations.pyterrier import RankwrightReranker
class Longest:
    def predict(self, pairs, **_):
        return [len(text) for _, text in pairs]
rows = [{"qid": "1", "query": "sort", "docno": str(n), "text": "a" * n} for n in range(3)]
print(*RankwrightReranker(Longest()).transform(pd.DataFrame(rows))["docno"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "1", "0"], done.stderr
