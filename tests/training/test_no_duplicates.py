from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import DataError
from rankwright.training.sampling.base import SamplerOptions
from rankwright.training.sampling.duplicates import NoDuplicatesSampler


def pairs(queries: list[str], documents: list[str]) -> Dataset:
    return Dataset.from_dict({"q": queries, "d": documents, "label": [1.0] * len(queries)})


def assert_no_text_twice(batches: list[list[int]], texts: list[set[str]]) -> None:
    for batch in batches:
        assert batch
        found = [text for row in batch for text in texts[row]]
        assert len(set(found)) == len(found)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=60),
    size=st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_whatever_the_texts(rows: list[tuple[int, int]], size: int, seed: int) -> None:
    """No text twice in a batch, no row twice in an epoch, as many batches as were promised."""
    queries, documents = [f"t{q}" for q, _ in rows], [f"t{d + 4}" for _, d in rows]
    texts = [{q, d} for q, d in zip(queries, documents, strict=True)]
    sampler = NoDuplicatesSampler(pairs(queries, documents), SamplerOptions(size, seed=seed))
    seen: Counter[int] = Counter()
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert batches == list(sampler)
        assert len(batches) == len(sampler) == -(-len(rows) // size)
        assert max(map(len, batches)) <= size
        assert_no_text_twice(batches, texts)
        placed = Counter(row for batch in batches for row in batch)
        assert max(placed.values()) == 1
        seen += placed
    distinct = Counter(text for row in texts for text in row)
    if max(distinct.values()) == 1:
        assert seen == Counter(dict.fromkeys(range(len(rows)), 2))


@pytest.mark.parametrize(("queries", "documents", "lost"), [(10, 13, 2), (25, 400, 0), (8, 400, 0)])
def test_every_row_is_seen_where_that_is_possible(queries: int, documents: int, lost: int) -> None:
    """Queries with several documents each, as in mined data; one of them in nearly every batch."""
    rows = [(f"q{i % queries}", f"d{i % documents}") for i in range(360)]
    rows += [("often", f"only {i}") for i in range(40)]
    sampler = NoDuplicatesSampler(
        pairs([q for q, _ in rows], [d for _, d in rows]), SamplerOptions(8)
    )
    # 50 batches: "often" is in 40 rows, a query in at most 45.
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == 50
        assert_no_text_twice(batches, [set(row) for row in rows])
        assert sum(map(len, batches)) >= len(rows) - lost


def test_it_says_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    sampler = NoDuplicatesSampler(
        pairs(["same"] * 8, [f"d{i}" for i in range(8)]), SamplerOptions(4)
    )
    with caplog.at_level(logging.WARNING):
        assert [len(b) for b in sampler] == [1, 1]
    assert "left out 6 of 8 rows in epoch 0" in caplog.text


def test_texts_in_lists_count_and_labels_do_not() -> None:
    data = Dataset.from_dict({"q": ["a", "b"], "d": [["x", "y"], ["y", "z"]]})
    assert all(len(batch) == 1 for batch in NoDuplicatesSampler(data, SamplerOptions(2)))
    labelled = Dataset.from_dict({"q": ["a", "b"], "d": ["x", "y"], "label": ["same", "same"]})
    assert [len(b) for b in NoDuplicatesSampler(labelled, SamplerOptions(2))] == [2]


def test_all_batches_are_full_with_drop_last() -> None:
    """Steps, and with them the schedule of the learning rate, are as many as were promised."""
    queries = [f"q{i % 5}" for i in range(40)] + ["often"] * 23
    documents = [f"d{i}" for i in range(63)]
    sampler = NoDuplicatesSampler(pairs(queries, documents), SamplerOptions(4, drop_last=True))
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [4] * len(sampler) == [4] * 15
    assert_no_text_twice(batches, [{q, d} for q, d in zip(queries, documents, strict=True)])


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    sampler = NoDuplicatesSampler(
        pairs(["same"] * 8, [f"d{i}" for i in range(8)]), SamplerOptions(4, drop_last=True)
    )
    with pytest.raises(DataError, match="no batch of 4 rows without a text in common"):
        list(sampler)


@pytest.mark.parametrize("kind", ["one query", "few queries", "two families", "copies"])
def test_work_grows_with_the_rows_not_with_their_square(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    original = NoDuplicatesSampler.texts_of

    def counting(self: Any, row: int) -> list[int]:
        nonlocal looks
        looks += 1
        return original(self, row)

    monkeypatch.setattr(NoDuplicatesSampler, "texts_of", counting)
    count = 4000
    rows = {
        "one query": [("q", f"d{i}") for i in range(count)],
        "few queries": [(f"q{i % 20}", f"d{i}") for i in range(count)],
        "two families": [
            [("a", "b"), ("a", f"x{i}"), ("b", f"y{i}"), (f"u{i}", f"v{i}")][i % 4]
            for i in range(count)
        ],
        "copies": [(f"q{i % 7}", f"d{i % 7}") for i in range(count)],
    }[kind]
    data = pairs([q for q, _ in rows], [d for _, d in rows])
    sampler = NoDuplicatesSampler(data, SamplerOptions(8))
    batches = list(sampler)
    assert_no_text_twice(batches, [set(row) for row in rows])
    # Each batch of the naive way would look at all rows that wait: 500 x 4000 / 2 = 1,000,000.
    assert looks < 12 * count
