from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from rankwright.engine.batch import PackedBatch
from rankwright.errors import LabelError
from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss
from rankwright.losses.base import Loss
from rankwright.training.collator import PackedInputs, PackingCollator
from tests.training.stub import StubEncoder, rows


@pytest.fixture(scope="module")
def model() -> StubEncoder:
    return StubEncoder()


def collator(model: StubEncoder, loss: type[Loss] = BinaryCrossEntropyLoss) -> PackingCollator:
    return PackingCollator(loss(model).pairs, model.pair_tokenizer, model.max_length)


def test_the_packed_batch_holds_what_the_tokenizer_gives(model: StubEncoder) -> None:
    data = rows(6)
    inputs = collator(model)(data)
    batch = PackedBatch.from_dict(inputs)
    expected = [model.tokenizer(r["query"], r["document"])["input_ids"] for r in data]
    assert [p.tolist() for p in batch.input_ids.split(batch.lengths.tolist())] == expected
    assert batch.labels.tolist() == [r["label"] for r in data]
    assert batch.labels.dtype == torch.float32
    assert batch.group_sizes is None
    assert inputs["row_pairs"].tolist() == [1] * 6
    assert int(inputs["truncated"]) == 0


def test_groups_stay_together_and_in_order(model: StubEncoder) -> None:
    data = [
        {"q": "sort", "docs": ["a", "b c d", "e"], "labels": [0, 2, 1]},
        {"q": "open", "docs": ["f g"], "labels": [1]},
    ]
    inputs = collator(model, GroupSoftmaxLoss)(data)
    assert inputs["group_sizes"].tolist() == inputs["row_pairs"].tolist() == [3, 1]
    assert inputs["labels"].tolist() == [0, 2, 1, 1]
    assert inputs["lengths"].tolist() == [5, 7, 5, 6]
    assert next(iter(inputs)) == "row_pairs"  # what transformers takes for the number of rows


def test_moving_leaves_the_plan_on_the_cpu(model: StubEncoder) -> None:
    inputs = collator(model)(rows(3))
    moved = inputs.to("meta")
    assert isinstance(moved, PackedInputs)
    assert {n for n, v in moved.items() if v.device.type == "cpu"} == {
        "lengths",
        "row_pairs",
        "truncated",
    }
    assert isinstance(copy.copy(inputs), PackedInputs)


def test_it_travels_to_other_processes(model: StubEncoder) -> None:
    mine = collator(model)
    theirs = pickle.loads(pickle.dumps(mine))
    data = rows(5)
    a, b = mine(data), theirs(data)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("workers", [0, 2])
def test_mistakes_keep_their_type_across_workers(model: StubEncoder, workers: int) -> None:
    data = [*rows(3), {"query": "q", "document": "d", "label": 7.0}]
    loader = DataLoader(data, batch_size=4, collate_fn=collator(model), num_workers=workers)
    with pytest.raises(LabelError, match="found 7"):
        list(loader)
