from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.data import (
    Leak,
    LoadOptions,
    RankingData,
    canonical_split,
    find_leaks,
    normalise_query,
    split_queries,
)
from rankwright.data.split import fill_splits, limit_queries
from rankwright.errors import EmptyDataError

THIRDS = {"test": 0.3, "dev": 0.2}
PINNED = ["0", "10", "14", "24", "34", "36", "38", "4", "40", "43", "48", "6", "7", "8", "9"]


def data(count: int, split: str = "train") -> RankingData:
    queries = {f"q{i}": f"query {i}" for i in range(count)}
    return RankingData(
        queries,
        {"d": "document"},
        {split: {q: {"d": 1} for q in queries}},
        candidates={split: {q: {"d": 1.0} for q in queries}},
        negatives={"q0": ["d"]},
    )


def test_names() -> None:
    assert [canonical_split(n) for n in ("validation", "VAL", "Train", "test_public")] == [
        "dev", "dev", "train", "test_public"]  # fmt: skip


def test_normal_form() -> None:
    # full-width letters, no-break space, sharp s, capital and final sigma
    assert normalise_query("  Ｈello World\n") == "hello world"
    assert normalise_query("STRASSE ΣΑΣ") == normalise_query("straße σας")


@given(st.text())
def test_normal_form_is_stable(text: str) -> None:
    assert normalise_query(normalise_query(text)) == normalise_query(text)


@given(
    st.lists(st.text(min_size=1, max_size=3), min_size=12, max_size=40, unique_by=normalise_query),
    st.randoms(),
    st.integers(0, 99),
)
@settings(max_examples=50)
def test_split_depends_on_texts_only(texts: list[str], random: object, seed: int) -> None:
    one = split_queries({f"a{i}": t for i, t in enumerate(texts)}, THIRDS, "train", seed)
    sides = {t: one[f"a{i}"] for i, t in enumerate(texts)}
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = split_queries({f"b{i}": t for i, t in enumerate(shuffled)}, THIRDS, "train", seed)
    assert {t: other[f"b{i}"] for i, t in enumerate(shuffled)} == sides
    counts = {side: list(sides.values()).count(side) for side in ("train", "dev", "test")}
    assert counts["test"] == round(0.3 * len(texts))
    assert counts["dev"] == round(0.2 * len(texts))


def test_same_queries_stay_together() -> None:
    queries = {}
    for i in range(60):
        queries[f"a{i}"] = f"How many {i}"
        queries[f"b{i}"] = f"how  MANY {i} "
    sides = split_queries(queries, THIRDS, "train", 3)
    assert all(sides[f"a{i}"] == sides[f"b{i}"] for i in range(60))
    assert set(sides.values()) == {"train", "dev", "test"}


def test_seed_matters_and_is_stable() -> None:
    queries = {str(i): f"query {i}" for i in range(50)}
    first = split_queries(queries, THIRDS, "train", 1)
    assert first == split_queries(queries, THIRDS, "train", 1)
    assert first != split_queries(queries, THIRDS, "train", 2)
    # pinned, so that a new version cannot silently move queries between training and test
    tested = sorted(q for q, side in first.items() if side == "test")
    assert tested == PINNED


def test_small_sets_fill_every_split() -> None:
    sides = split_queries({"a": "1", "b": "2", "c": "3"}, {"test": 0.1, "dev": 0.1}, "train", 0)
    assert sorted(sides.values()) == ["dev", "test", "train"]
    with pytest.raises(EmptyDataError, match="2 different queries.*at least 3"):
        split_queries({"a": "1", "b": "2", "c": "1 "}, {"test": 0.1, "dev": 0.1}, "train", 0)
    assert split_queries({"a": "1"}, {"test": 0.0}, "train", 0) == {"a": "train"}


def test_large_fractions_leave_one_for_everybody() -> None:
    sides = split_queries({"a": "1", "b": "2", "c": "3"}, {"test": 0.9, "dev": 0.05}, "train", 0)
    assert sorted(sides.values()) == ["dev", "test", "train"]


def test_missing_splits_are_carved_with_their_candidates() -> None:
    filled = fill_splits(data(20), LoadOptions())
    assert {s: len(q) for s, q in filled.qrels.items()} == {"train": 16, "dev": 2, "test": 2}
    assert list(filled.qrels) == ["train", "dev", "test"]
    for split, judged in filled.qrels.items():
        assert filled.candidates[split].keys() == judged.keys()


def test_given_splits_are_left_alone() -> None:
    given_data = data(10)
    given_data.qrels["test"] = {"q0": {"d": 1}}
    given_data.qrels["other"] = {"q1": {"d": 1}}
    filled = fill_splits(given_data, LoadOptions())
    assert filled.qrels["test"] == {"q0": {"d": 1}}
    assert filled.qrels["other"] == {"q1": {"d": 1}}
    assert {s: len(q) for s, q in filled.qrels.items()} == {
        "train": 9, "dev": 1, "test": 1, "other": 1}  # fmt: skip


def test_train_carved_out_of_test_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rankwright"):
        filled = fill_splits(data(10, "test"), LoadOptions(test_fraction=0.4))
    assert "carved out of 'test'" in caplog.text
    assert {s: len(q) for s, q in filled.qrels.items()} == {"train": 5, "dev": 1, "test": 4}


def test_a_split_of_another_name_is_used_up() -> None:
    filled = fill_splits(data(10, "all"), LoadOptions())
    assert {s: len(q) for s, q in filled.qrels.items()} == {"train": 8, "dev": 1, "test": 1}


def test_no_dev_where_none_is_wanted() -> None:
    assert list(fill_splits(data(10), LoadOptions(dev_fraction=0)).qrels) == ["train", "test"]


def test_leaks_are_found() -> None:
    queries = {
        "a": "Same  query",
        "b": "same query",
        "c": "other",
        "d": "same query!",
        "e": "other",
    }
    qrels = {
        "train": {"a": {"x": 1}, "c": {"x": 1}, "e": {"x": 1}},
        "test": {"b": {"x": 1}, "d": {"x": 1}},
    }
    assert find_leaks(qrels, queries) == [Leak("same query", ("train", "test"), ("a", "b"))]
    assert find_leaks({"train": qrels["train"]}, queries) == []


def test_limit_keeps_the_corpus_and_is_stable() -> None:
    whole = fill_splits(data(20), LoadOptions())
    limited = limit_queries(whole, LoadOptions(max_queries=5))
    assert {s: len(q) for s, q in limited.qrels.items()} == {"train": 5, "dev": 2, "test": 2}
    assert len(limited.queries) == 9
    assert limited.corpus == whole.corpus
    assert limited.candidates["train"].keys() == limited.qrels["train"].keys()
    fewer = limit_queries(whole, LoadOptions(max_queries=3))
    assert fewer.qrels["train"].keys() < limited.qrels["train"].keys()
    assert limit_queries(whole, LoadOptions()) is whole
