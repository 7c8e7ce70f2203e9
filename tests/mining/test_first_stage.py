from __future__ import annotations

import numpy as np
import pytest

from rankwright.errors import EmptyDataError, InputError, UnknownIdError
from rankwright.mining import BM25, MiningOptions, mine, retrieve, score_positives
from tests.mining.toys import ToyEncoder

CORPUS = {
    "d1": "sort files by size",
    "d2": "list open ports",
    "d3": "sort lines",
    "d4": "Sort Lines",
}
QUERIES = {"q1": "sort lines of a file", "q2": "ports", "q3": "unheard"}


def test_retrieve_gives_a_run_by_id():
    run = retrieve(BM25(), CORPUS, QUERIES, k=3)
    assert list(run) == ["q1", "q2", "q3"]
    assert list(run["q1"]) == ["d1", "d3", "d4"]  # "file" is rarer than "lines"
    assert list(run["q2"]) == ["d2"]
    assert run["q3"] == {}
    assert all(type(score) is float for score in run["q1"].values())


def test_retrieve_takes_names_and_encoders():
    assert list(retrieve("bm25", CORPUS, QUERIES)["q2"]) == ["d2"]
    assert len(retrieve(ToyEncoder(), CORPUS, QUERIES, k=2)["q3"]) == 2


def test_retrieve_errors():
    with pytest.raises(EmptyDataError, match="no documents"):
        retrieve("bm25", {}, QUERIES)
    with pytest.raises(EmptyDataError, match="no queries"):
        retrieve("bm25", CORPUS, {})
    with pytest.raises(InputError, match="k must be"):
        retrieve("bm25", CORPUS, QUERIES, k=0)


def test_score_positives_knows_what_search_did_not_find():
    stage = BM25()
    run = retrieve(stage, CORPUS, QUERIES, k=3)
    scores = score_positives(stage, CORPUS, QUERIES, {"q1": {"d3": 1, "d2": 2, "d1": 0}})
    assert scores == {"q1": {"d3": run["q1"]["d3"], "d2": 0.0}}
    with pytest.raises(UnknownIdError, match="'d9'"):
        score_positives(stage, CORPUS, QUERIES, {"q1": {"d9": 1}})


RUN = {
    "q1": {"d1": 0.2, "d2": 0.9, "d3": 0.8, "d4": 0.7, "d5": 0.6},  # not in order
    "q2": {"d1": 1.0},
    "q4": {"d1": 1.0},
}
QRELS = {"q1": {"d3": 1, "d5": 0}, "q2": {"d1": 2}, "q3": {"d1": 1}, "q5": {"d1": 0}}
TEXTS = {"d1": "one", "d2": "two", "d3": "three", "d4": "three", "d5": "five"}


def test_mine_orders_by_score_and_leaves_positives_out():
    assert mine(RUN, QRELS, MiningOptions(3)) == {"q1": ["d2", "d4", "d5"], "q2": [], "q3": []}


def test_mine_knows_texts_that_read_the_same():
    assert mine(RUN, QRELS, MiningOptions(3), corpus=TEXTS)["q1"] == ["d2", "d5", "d1"]


def test_mine_margin_needs_scores_of_all_positives():
    options = MiningOptions(3, absolute_margin=0.15)
    with pytest.raises(InputError, match="'d1' of query 'q3' is not in the run"):
        mine(RUN, QRELS, options)
    found = mine(RUN, QRELS, options, positive_scores={"q3": {"d1": 0.0}})
    assert found["q1"] == ["d5", "d1"]


def test_random_negatives_come_on_top():
    corpus = TEXTS | {f"x{number}": f"text {number}" for number in range(50)}
    options = MiningOptions(2)
    hard = mine(RUN, QRELS, options, corpus=corpus)
    mixed = mine(RUN, QRELS, options, corpus=corpus, random_negatives=7)
    assert mixed == mine(RUN, QRELS, options, corpus=corpus, random_negatives=7)
    for qid, docids in mixed.items():
        extra = docids[len(hard[qid]) :]
        assert docids[: len(hard[qid])] == hard[qid]
        assert len(extra) == 7
        assert len(set(docids)) == len(docids)
        assert not set(docids) & {d for d, grade in QRELS[qid].items() if grade > 0}
    assert "d4" not in mixed["q1"]  # reads like the positive d3
    assert mixed["q2"] != mixed["q3"]


def test_random_negatives_stop_at_the_end_of_the_corpus():
    mixed = mine(RUN, QRELS, MiningOptions(1), corpus=TEXTS, random_negatives=9)
    assert sorted(mixed["q1"]) == ["d1", "d2", "d5"]


def test_mine_errors():
    with pytest.raises(EmptyDataError, match="relevant"):
        mine(RUN, {"q1": {"d1": 0}})
    with pytest.raises(InputError, match="corpus"):
        mine(RUN, QRELS, random_negatives=1)


def test_random_negatives_are_drawn_evenly():
    corpus = {f"d{number}": f"text {number}" for number in range(10)}
    qrels = {f"q{number}": {"d0": 1} for number in range(3000)}
    drawn = mine({}, qrels, MiningOptions(1), corpus=corpus, random_negatives=3)
    counts = np.bincount([int(d[1:]) for docids in drawn.values() for d in docids], minlength=10)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:], 1000, rtol=0.12)
