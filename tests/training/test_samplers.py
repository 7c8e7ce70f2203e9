from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler

from rankwright.errors import InputError
from rankwright.training.samplers import (
    BatchSamplers,
    LengthGroupedSampler,
    NoDuplicatesSampler,
    SamplerOptions,
    ShuffledSampler,
    build_batch_sampler,
)

OPTIONS = SamplerOptions(4, seed=3)


def pairs(queries: list[str], documents: list[str]) -> Dataset:
    return Dataset.from_dict({"q": queries, "d": documents, "label": [1.0] * len(queries)})


def test_order_follows_from_seed_and_epoch_alone() -> None:
    sampler = ShuffledSampler(10, OPTIONS)
    first = list(sampler)
    torch.manual_seed(77)
    assert list(sampler) == first
    assert torch.initial_seed() == 77
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(i for batch in first for i in batch) == list(range(10))
    assert [len(b) for b in first] == [4, 4, 2]
    assert list(ShuffledSampler(10, SamplerOptions(4, seed=4))) == list(sampler)


@pytest.mark.parametrize("count", [8, 9])
def test_dropping_the_last_batch(count: int) -> None:
    sampler = ShuffledSampler(count, SamplerOptions(4, drop_last=True))
    assert [len(b) for b in sampler] == [4, 4]
    assert len(sampler) == 2


def test_no_duplicates_keeps_equal_texts_apart() -> None:
    queries = [f"q{i % 10}" for i in range(40)]
    documents = [f"d{i % 13}" for i in range(40)]
    documents[5] = "q3"  # a text counts in whichever column it stands
    sampler = NoDuplicatesSampler(pairs(queries, documents), OPTIONS)
    seen = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) <= len(sampler) == 10
        for batch in batches:
            texts = [t for i in batch for t in {queries[i], documents[i]}]
            assert len(set(texts)) == len(texts)
        rows = [i for batch in batches for i in batch]
        assert len(set(rows)) == len(rows)
        seen.append(rows)
    assert seen[0] != seen[1]
    assert max(len(rows) for rows in seen) == 40


def test_no_duplicates_says_what_it_left_out(caplog: pytest.LogCaptureFixture) -> None:
    sampler = NoDuplicatesSampler(pairs(["same"] * 8, [f"d{i}" for i in range(8)]), OPTIONS)
    with caplog.at_level(logging.WARNING):
        assert [len(b) for b in sampler] == [1, 1]
    assert "left out 6 of 8 rows in epoch 0" in caplog.text


def test_no_duplicates_looks_into_lists() -> None:
    data = Dataset.from_dict({"q": ["a", "b"], "d": [["x", "y"], ["y", "z"]]})
    assert all(len(batch) == 1 for batch in NoDuplicatesSampler(data, OPTIONS))


def test_batches_of_nearly_equal_length() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 500, (403,), generator=generator).tolist()
    sampler = LengthGroupedSampler(lengths, SamplerOptions(8, seed=1))
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(403))
    assert len(batches) == len(sampler)
    padded = sum(max(lengths[i] for i in b) * len(b) for b in batches)
    random = sum(
        max(lengths[i] for i in b) * len(b) for b in ShuffledSampler(403, SamplerOptions(8))
    )
    assert padded < 1.1 * sum(lengths) < random
    assert max(lengths) in [lengths[i] for i in batches[0]]
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_strategies_by_name() -> None:
    data = pairs(["a", "b", "c", "d", "e"], ["1", "22", "333", "4444", "55555"])
    in_order = build_batch_sampler(data, BatchSamplers.BATCH_SAMPLER, "sequential", OPTIONS)
    assert list(in_order) == [[0, 1, 2, 3], [4]]
    grouped = build_batch_sampler(data, "batch_sampler", "group_by_length", OPTIONS)
    assert isinstance(grouped, LengthGroupedSampler)
    assert grouped.lengths == [2, 3, 4, 5, 6]
    apart = build_batch_sampler(data, "no_duplicates_hashed", "random", OPTIONS)
    assert isinstance(apart, NoDuplicatesSampler)


@pytest.mark.parametrize(
    ("kind", "strategy", "words"),
    [
        ("group_by_label", "random", "group_by_label"),
        ("batch_sampler", "batch_rebalance", "batch_rebalance"),
        ("no_duplicates", "group_by_length", "both decide"),
    ],
)
def test_what_is_not_available_is_refused(kind: str, strategy: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_batch_sampler(pairs(["a"], ["b"]), kind, strategy, OPTIONS)


def test_a_sampler_of_ones_own() -> None:
    class Backwards(BatchSampler):
        def __init__(self, dataset: Any, batch_size: int, **given: Any) -> None:
            self.count, self.batch_size, self.given = len(dataset), batch_size, given

        def __iter__(self) -> Iterator[list[int]]:
            yield list(reversed(range(self.count)))

        def __len__(self) -> int:
            return 1

    data = pairs(["a", "b"], ["c", "d"])
    sampler = build_batch_sampler(data, Backwards, "random", OPTIONS)
    assert list(sampler) == [[1, 0]]
    assert sampler.given["seed"] == 3
    assert set(sampler.given) == {"drop_last", "valid_label_columns", "generator", "seed"}
