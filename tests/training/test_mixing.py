from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import InputError
from rankwright.training.samplers import (
    MultiDatasetBatchSamplers,
    MultiDatasetDefaultBatchSampler,
    SamplerOptions,
    ShuffledSampler,
    build_multi_sampler,
    mixing_weights,
)
from rankwright.training.sampling.mixing import Mixture, NamedRows, apportion, evenly_spread

SIZES = {"small": 9, "large": 40}


def data(sizes: dict[str, int]) -> Mixture:
    return Mixture(
        {name: Dataset.from_dict({"q": [f"{name} {i}" for i in range(size)]})
         for name, size in sizes.items()}
    )  # fmt: skip


def sampler(
    kind: Any, sizes: dict[str, int] = SIZES, size: int = 4, temperature: float = 2.0
) -> Any:
    mixture = data(sizes)
    each = [
        ShuffledSampler(count, SamplerOptions(size, seed=5 + i))
        for i, count in enumerate(sizes.values())
    ]
    return build_multi_sampler(mixture, each, kind, temperature, 5)


def parts(made: Any, sizes: dict[str, int] = SIZES) -> list[str]:
    """The data set of each batch; every batch must come from one."""
    mixture = data(sizes)
    names = []
    for batch in made:
        found = mixture.__getitems__(batch)
        assert {row["q"].split()[0] for row in found} == {found.dataset_name}
        names.append(found.dataset_name)
    return names


def test_rows_know_their_data_set() -> None:
    mixture = data(SIZES)
    assert len(mixture) == 49
    rows = mixture.__getitems__([9, 48, 10])
    assert isinstance(rows, NamedRows)
    assert rows == [{"q": "large 0"}, {"q": "large 39"}, {"q": "large 1"}]
    assert rows.dataset_name == "large"
    with pytest.raises(InputError, match="a batch holds rows of 'small' and 'large'"):
        mixture.__getitems__([0, 9])


def test_proportional_sees_every_row_once() -> None:
    made = sampler(MultiDatasetBatchSamplers.PROPORTIONAL)
    orders = []
    for epoch in range(2):
        made.set_epoch(epoch)
        batches = list(made)
        assert batches == list(made)
        assert len(batches) == len(made) == 3 + 10
        assert sorted(row for batch in batches for row in batch) == list(range(49))
        assert Counter(parts(made)) == {"small": 3, "large": 10}
        orders.append(batches)
    assert orders[0] != orders[1]
    assert parts(made) != sorted(parts(made))


def test_round_robin_takes_turns_until_one_is_exhausted() -> None:
    made = sampler(MultiDatasetBatchSamplers.ROUND_ROBIN)
    assert parts(made) == ["small", "large"] * 3
    assert len(made) == 6
    first = list(made)
    made.set_epoch(1)
    assert list(made) != first


@pytest.mark.parametrize(
    ("temperature", "small"),
    # shares: 9 : 40; 3 : 6.32; nearly 1 : 1, of 13 batches
    [(1.0, 2), (2.0, 4), (1000.0, 6)],
)
def test_temperature_smooths_sizes(temperature: float, small: int) -> None:
    made = sampler(MultiDatasetBatchSamplers.TEMPERATURE, temperature=temperature)
    assert len(made) == 13
    assert Counter(parts(made)) == {"small": small, "large": 13 - small}


def test_weights_repeat_some_and_continue_others() -> None:
    """Over many epochs all rows of a data set are seen equally often."""
    made = sampler({"large": 1.0, "small": 3.0})
    seen: Counter[int] = Counter()
    for epoch in range(40):
        made.set_epoch(epoch)
        batches = list(made)
        assert batches == list(made)  # follows from seed and epoch alone
        assert Counter(parts(made)) == {"small": 10, "large": 3}
        seen.update(row for batch in batches for row in batch)
    small = [seen[row] for row in range(9)]
    large = [seen[row] for row in range(9, 49)]
    # 400 batches of 3 per pass; 120 batches of 10 per pass.
    assert min(small) >= 133
    assert max(small) <= 134
    assert min(large) == max(large) == 12


def test_an_epoch_does_not_depend_on_those_before() -> None:
    made, fresh = sampler({"large": 1.0, "small": 3.0}), sampler({"large": 1.0, "small": 3.0})
    for epoch in range(4):
        made.set_epoch(epoch)
        last = list(made)
    fresh.set_epoch(3)
    assert list(fresh) == last


def test_one_of_ones_own() -> None:
    class Backwards(MultiDatasetDefaultBatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            self.seeded()
            for part in reversed(range(len(self.batch_samplers))):
                yield from self.batches_of(part)

        def __len__(self) -> int:
            return sum(map(len, self.batch_samplers))

    made = sampler(Backwards)
    assert parts(made) == ["large"] * 10 + ["small"] * 3
    made.set_epoch(2)
    assert made.wrapped.epoch == 2
    assert {s.epoch for s in made.wrapped.batch_samplers} == {2}

    def function(dataset: Any, batch_samplers: Any, generator: Any, seed: int) -> Any:
        assert len(dataset.datasets) == 2
        assert isinstance(generator, torch.Generator)
        assert seed == 5
        return Backwards(dataset, batch_samplers, generator, seed)

    assert list(sampler(function)) == list(sampler(Backwards))
    with pytest.raises(InputError, match="1 data sets and 0 batch samplers"):
        Backwards(data({"a": 1}), [])


@settings(max_examples=100, deadline=None)
@given(
    total=st.integers(0, 200),
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=8),
)
def test_shares_sum_up_and_none_is_zero(total: int, weights: list[float]) -> None:
    counts = apportion(total, weights)
    assert min(counts) >= 1
    assert sum(counts) == max(total, len(weights))
    exact = [total * weight / sum(weights) for weight in weights]
    if min(exact) >= 1:
        assert all(abs(c - e) < 1 for c, e in zip(counts, exact, strict=True))


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.floats(0.05, 20), min_size=1, max_size=6))
def test_turns_without_end_keep_to_their_shares(weights: list[float]) -> None:
    given = [0] * len(weights)
    turns = evenly_spread(weights)
    for turn in range(1, 200):
        given[next(turns)] += 1
        for count, weight in zip(given, weights, strict=True):
            assert abs(count - turn * weight / sum(weights)) < len(weights)
    equal = evenly_spread([1.0, 1.0])
    assert [next(equal) for _ in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("kind", "sizes", "words"),
    [
        ({"a": 1.0}, [1, 2], "found 'a'; the data sets are 'a', 'b'"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, [1, 2], "to no other: found 'a', 'b', 'c'"),
        (MultiDatasetBatchSamplers.PROPORTIONAL, None, "'proportional' needs to know how many"),
        (MultiDatasetBatchSamplers.TEMPERATURE, None, "multi_dataset_batch_sampler={'a': 1.0"),
    ],
)
def test_mistakes(kind: Any, sizes: list[int] | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        mixing_weights(kind, ["a", "b"], sizes, 2.0)
