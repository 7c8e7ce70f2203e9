from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler

from rankwright.errors import InputError
from rankwright.training.samplers import (
    BatchSamplers,
    DefaultBatchSampler,
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
    for strategy in ("random", "group_by_length"):
        same = build_batch_sampler(data, "length_grouped", strategy, OPTIONS)
        assert list(same) == list(grouped)
    apart = build_batch_sampler(data, "no_duplicates_hashed", "random", OPTIONS)
    assert isinstance(apart, NoDuplicatesSampler)


@pytest.mark.parametrize(
    ("kind", "strategy", "words"),
    [
        ("batch_sampler", "batch_rebalance", "batch_rebalance"),
        ("no_duplicates", "group_by_length", "both decide"),
        ("query_grouped", "sequential", "both decide"),
        ("length_grouped", "sequential", "both decide"),
        (ShuffledSampler, "sequential", "both decide"),
    ],
)
def test_what_is_not_available_is_refused(kind: Any, strategy: str, words: str) -> None:
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
    made: Any = sampler.wrapped
    assert made.given["seed"] == 3
    assert set(made.given) == {"drop_last", "valid_label_columns", "generator", "seed"}
    assert made.given["valid_label_columns"] == ["label", "labels", "score", "scores"]


def test_a_sampler_of_ones_own_is_seeded_for_every_epoch() -> None:
    """What it drew in earlier epochs, in this process or not, does not matter."""

    class Drawn(DefaultBatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            order = torch.randperm(len(self.dataset), generator=self.generator).tolist()
            yield from (order[i : i + self.batch_size] for i in range(0, len(order), 2))

    data = pairs([str(i) for i in range(10)], [f"d{i}" for i in range(10)])
    sampler: Any = build_batch_sampler(data, Drawn, "random", SamplerOptions(2, seed=3))
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    fresh: Any = build_batch_sampler(data, Drawn, "random", SamplerOptions(2, seed=3))
    fresh.set_epoch(1)
    assert list(fresh) == second
    assert fresh.wrapped.epoch == 1


def test_the_base_of_ones_own_samplers_shuffles() -> None:
    data = pairs([str(i) for i in range(10)], [f"d{i}" for i in range(10)])
    sampler: Any = build_batch_sampler(data, DefaultBatchSampler, "random", OPTIONS)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(sampler) == 3
    assert sorted(i for batch in batches for i in batch) == list(range(10))
    assert batches == list(ShuffledSampler(10, OPTIONS))
