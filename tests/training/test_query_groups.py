from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.training.samplers import ShuffledSampler, build_batch_sampler
from rankwright.training.sampling.base import SamplerOptions
from rankwright.training.sampling.queries import QueryGroupedSampler, choose_documents


def flat(queries: list[str], labels: list[Any] | None = None) -> Dataset:
    columns: dict[str, list[Any]] = {
        "query": queries,
        "document": [f"d{i}" for i in range(len(queries))],
    }
    return Dataset.from_dict(columns | ({} if labels is None else {"label": labels}))


@settings(max_examples=60, deadline=None)
@given(
    queries=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    size=st.integers(1, 4),
    limit=st.integers(1, 6),
    shuffle=st.booleans(),
)
def test_whole_queries_in_every_batch(
    queries: list[int], size: int, limit: int, shuffle: bool
) -> None:
    data = flat([f"q{q}" for q in queries])
    options = SamplerOptions(size, seed=2, max_documents=limit)
    sampler = QueryGroupedSampler(data, options, shuffle=shuffle)
    counts = Counter(queries)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert batches == list(sampler)
        assert len(batches) == len(sampler) == -(-len(counts) // size)
        order: list[int] = []
        for batch in batches:
            found = [queries[row] for row in batch]
            assert Counter(found) == {q: min(counts[q], limit) for q in set(found)}
            grouped = list(dict.fromkeys(found))
            assert len(grouped) <= size
            # Rows of a query are neighbours, in the order of the data.
            assert found == [q for q in grouped for _ in range(min(counts[q], limit))]
            for query in grouped:
                rows = [row for row in batch if queries[row] == query]
                assert rows == sorted(rows)
            order += grouped
        assert sorted(order) == sorted(counts)
        if not shuffle:
            assert order == list(dict.fromkeys(queries))


def test_the_order_changes_with_the_epoch() -> None:
    sampler = QueryGroupedSampler(flat([f"q{i % 20}" for i in range(60)]), SamplerOptions(4))
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_incomplete_batches_are_dropped_by_queries_not_rows() -> None:
    data = flat(["a"] * 9 + ["b"] + ["c"] * 2)
    sampler = QueryGroupedSampler(data, SamplerOptions(2, drop_last=True))
    assert len(sampler) == len(list(sampler)) == 1


def test_of_long_lists_an_epoch_sees_a_part_with_relevant_documents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = [float(i in (3, 90)) for i in range(100)]
    with caplog.at_level(logging.WARNING):
        sampler = QueryGroupedSampler(
            flat(["q"] * 100, labels), SamplerOptions(1, max_documents=10)
        )
    assert "90 of 100 rows are left out of every epoch" in caplog.text
    seen = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        (batch,) = sampler
        assert {3, 90} <= set(batch)
        assert len(batch) == len(set(batch)) == 10
        seen |= set(batch)
    assert len(seen) == 100


@pytest.mark.parametrize(
    ("labels", "best"),
    [
        ([1] * 8 + [0] * 8, 3),  # half of the places
        ([1] * 15 + [0], 5),  # more where the others are too few
        ([2, 1, 1, 1] + [0] * 12, 1),  # only the highest label counts
        ([0] * 16, None),
    ],
)
def test_shares_of_relevant_documents(labels: list[int], best: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    chosen = choose_documents(labels, 16, 6, generator)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 6
    if best is not None:
        assert sum(labels[i] == max(labels) for i in chosen) == best


def test_choosing_without_labels_and_one_document() -> None:
    generator = torch.Generator().manual_seed(0)
    assert choose_documents(None, 3, 3, generator) == [0, 1, 2]
    drawn = Counter(choose_documents(None, 4, 1, generator)[0] for _ in range(200))
    assert set(drawn) == {0, 1, 2, 3}
    assert choose_documents([0, 0, 1, 0], 4, 1, generator) == [2]
    assert len(choose_documents([[1], [0], [1]], 3, 2, generator)) == 2


def test_rows_that_are_lists_already_are_shuffled() -> None:
    lists = Dataset.from_dict({"q": ["a", "b"], "d": [["x"], ["y", "z"]], "labels": [[1], [1, 0]]})
    tuples = Dataset.from_dict({"q": ["a", "b"], "p": ["x", "y"], "n": ["z", "w"]})
    for data in (lists, tuples):
        made = build_batch_sampler(data, "query_grouped", "random", SamplerOptions(2))
        assert isinstance(made, ShuffledSampler)
    made = build_batch_sampler(flat(["a", "b"]), "query_grouped", "random", SamplerOptions(2))
    assert isinstance(made, QueryGroupedSampler)
