"""What several processes get: all batches, none of them twice, in whichever epoch a run starts."""

from __future__ import annotations

from typing import Any

import pytest
from accelerate.data_loader import BatchSamplerShard, IterableDatasetShard, SkipBatchSampler
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader

from rankwright.training.loaders import keep_epochs, make_loader
from rankwright.training.sampling.base import SamplerOptions
from rankwright.training.streams import BatchStream, Endless, FromStream
from tests.training.test_arguments import make

ROWS = Dataset.from_dict(
    {
        "query": [f"q{i % 17}" for i in range(83)],
        "document": [f"{'d' * (i % 9)}{i}" for i in range(83)],
        "label": [float(i % 3 == 0) for i in range(83)],
    }
)
LISTS = Dataset.from_dict({"query": [f"q{i}" for i in range(30)], "document": [["a", "b"]] * 30})
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"batch_sampler": name} for name in (
        "batch_sampler", "no_duplicates", "group_by_label", "length_grouped", "query_grouped")},
    "by length": {"train_sampling_strategy": "group_by_length"},
    "proportional": {},
    "round_robin": {"multi_dataset_batch_sampler": "round_robin"},
    "temperature": {"multi_dataset_batch_sampler": "temperature"},
    "weights": {"multi_dataset_batch_sampler": {"a": 1.0, "b": 2.0}},
}  # fmt: skip
MIXED = ("proportional", "round_robin", "temperature", "weights")


def batches(kind: str, tmp_path: Any, **options: Any) -> Any:
    args = make(tmp_path, per_device_train_batch_size=4, **KINDS[kind], **options)
    train: Any = {"a": ROWS, "b": LISTS} if kind in MIXED else ROWS
    return make_loader(train, args, list, training=True).batch_sampler


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_processes_share_the_batches_of_an_epoch(tmp_path: Any, kind: str, processes: int) -> None:
    # As the training arguments have it with several processes.
    sampler = batches(kind, tmp_path, dataloader_drop_last=True)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        whole = list(sampler)
        assert len(whole) == len(sampler)
        shards = [BatchSamplerShard(sampler, processes, i) for i in range(processes)]
        found = [list(shard) for shard in shards]
        # A round that is not complete is dropped, so that no process waits for another.
        rounds = len(whole) // processes
        assert [len(one) for one in found] == [rounds] * processes == [len(s) for s in shards]
        together = [batch for turn in zip(*found, strict=True) for batch in turn]
        assert together == whole[: rounds * processes]
        assert rounds > 0
        if kind not in ("temperature", "weights", "no_duplicates"):
            rows = [row for batch in together for row in batch]
            assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_uneven_size_are_not_lost_without_drop_last(tmp_path: Any, kind: str) -> None:
    sampler = batches(kind, tmp_path)
    whole = list(sampler)
    shards = [list(BatchSamplerShard(sampler, 2, i, even_batches=False)) for i in range(2)]
    assert shards[0] == whole[::2]
    assert shards[1] == whole[1::2]


@pytest.mark.parametrize("kind", ["batch_sampler", "query_grouped", "proportional", "weights"])
def test_a_run_with_several_processes_resumes_in_a_later_epoch(tmp_path: Any, kind: str) -> None:
    """transformers sets the epoch on what it finds under accelerate's SkipBatchSampler."""
    sampler = batches(kind, tmp_path)
    sampler.set_epoch(2)
    expected = list(BatchSamplerShard(sampler, 2, 1, even_batches=False))[1:]
    resumed = batches(kind, tmp_path)
    shard = BatchSamplerShard(resumed, 2, 1, even_batches=False)
    loader = keep_epochs(DataLoader(ROWS, batch_sampler=shard))
    skipping = SkipBatchSampler(loader.batch_sampler, 1)
    skipping.batch_sampler.set_epoch(2)  # as Trainer._run_epoch does
    assert list(skipping) == expected
    assert len(expected) > 0
    assert resumed.epoch == 2


def test_data_sets_of_one_size_come_in_different_orders(tmp_path: Any) -> None:
    args = make(tmp_path, per_device_train_batch_size=30)
    loader = make_loader({"a": LISTS, "b": LISTS}, args, list, training=True)
    first, second = sorted(loader.batch_sampler, key=min)
    assert [row + 30 for row in first] != second


@pytest.mark.parametrize("kind", ["batch_sampler", "query_grouped", "no_duplicates"])
def test_processes_share_the_batches_of_a_stream(kind: str) -> None:
    def whole() -> BatchStream:
        stream = IterableDataset.from_generator(lambda: iter(ROWS))
        return BatchStream({None: FromStream(Endless(stream), kind, SamplerOptions(4))})

    def first(stream: Any, count: int) -> list[Any]:
        source = iter(stream)
        return [next(source) for _ in range(count)]

    expected = first(whole(), 60)
    shards = [first(IterableDatasetShard(whole(), 1, False, 2, i), 30) for i in range(2)]
    assert shards[0] == expected[::2]
    assert shards[1] == expected[1::2]
