from __future__ import annotations

import math

import numpy as np
import pytest

from rankwright.errors import InputError, ScoreError, UnknownIdError
from rankwright.evaluation.rerank import rerank_run
from tests.evaluation.stubs import StubModel, hashed

QUERIES = {"q1": "one", "q2": "two", "q3": "three"}
CORPUS = {f"d{i}": f"text {i}" for i in range(10)}
RUN = {
    "q1": {f"d{i}": float(i) for i in range(10)},
    "q2": {"d1": 1.0, "d3": 1.0, "d2": 1.0},
    "q3": {},
}


def test_only_the_top_is_reranked_in_one_call() -> None:
    model = StubModel(hashed)
    result = rerank_run(model, RUN, QUERIES, CORPUS, depth=4, batch_size=7, show_progress_bar=False)
    assert len(model.calls) == 1
    assert model.options == [{"batch_size": 7, "show_progress_bar": False}]
    assert result.pairs == len(model.calls[0]) == 7
    assert set(result.run["q1"]) == {"d9", "d8", "d7", "d6"}
    assert result.run["q3"] == {}
    for query, scores in result.run.items():
        for document, score in scores.items():
            assert score == np.float32(hashed(QUERIES[query], CORPUS[document]))
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert result.seconds > 0
    assert result.pairs_per_second == pytest.approx(7 / result.seconds)


def test_depth_cuts_ties_by_the_rule_of_runs() -> None:
    result = rerank_run(StubModel(hashed), RUN, QUERIES, CORPUS, depth=2)
    assert set(result.run["q2"]) == {"d3", "d2"}


def test_no_documents_no_call() -> None:
    model = StubModel(hashed)
    result = rerank_run(model, {"q1": {}}, QUERIES, CORPUS)
    assert (result.run, result.pairs, model.calls) == ({"q1": {}}, 0, [])
    assert result.pairs_per_second >= 0


def test_column_of_scores_is_accepted() -> None:
    flat = rerank_run(StubModel(hashed), RUN, QUERIES, CORPUS).run
    assert rerank_run(StubModel(lambda q, d: [hashed(q, d)]), RUN, QUERIES, CORPUS).run == flat


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers(bad: float) -> None:
    model = StubModel(lambda q, d: bad if (q, d) == ("one", "text 7") else 0.0)
    with pytest.raises(ScoreError, match=r"query 'q1' and document 'd7'; 1 of 13"):
        rerank_run(model, RUN, QUERIES, CORPUS)


def test_bad_arguments() -> None:
    model = StubModel(hashed)
    with pytest.raises(UnknownIdError, match="query 'q1'"):
        rerank_run(model, RUN, {}, CORPUS)
    with pytest.raises(UnknownIdError, match="document 'd9'"):
        rerank_run(model, RUN, QUERIES, {})
    with pytest.raises(InputError, match="depth"):
        rerank_run(model, RUN, QUERIES, CORPUS, depth=0)
    with pytest.raises(InputError, match="batch_size"):
        rerank_run(model, RUN, QUERIES, CORPUS, batch_size=0)
    with pytest.raises(ScoreError, match="'d1' for query 'q1' is NaN"):
        rerank_run(model, {"q1": {"d1": math.nan}}, QUERIES, CORPUS)
    with pytest.raises(InputError, match="num_labels=1"):
        rerank_run(StubModel(lambda q, d: [0.0, 1.0]), RUN, QUERIES, CORPUS)
    short = StubModel(hashed)
    short.predict = lambda pairs, **_: np.zeros(2)  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"shape \(2,\) for 13 pairs"):
        rerank_run(short, RUN, QUERIES, CORPUS)
