from __future__ import annotations

import logging
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rankwright.errors import InputError, LabelError
from rankwright.training.samplers import build_batch_sampler
from rankwright.training.sampling.base import SamplerOptions
from rankwright.training.sampling.labels import GroupByLabelSampler


def labelled(labels: list[object], column: str = "label") -> Dataset:
    count = range(len(labels))
    return Dataset.from_dict(
        {"q": [f"q{i}" for i in count], "d": ["d"] * len(labels), column: labels}
    )


@settings(max_examples=80, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=4, max_size=80),
    half=st.integers(2, 5),
    drop_last=st.booleans(),
)
def test_whatever_the_labels(labels: list[int], half: int, drop_last: bool) -> None:
    counts = Counter(labels)
    pairs = {label: count // 2 for label, count in counts.items() if count > 1}
    assume(len(pairs) > 1)
    options = SamplerOptions(2 * half, drop_last)
    logging.getLogger("rankwright").setLevel(logging.ERROR)  # lone labels are not the point here
    try:
        sampler = GroupByLabelSampler(labelled(list(labels)), options)
    finally:
        logging.getLogger("rankwright").setLevel(logging.NOTSET)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert batches == list(sampler)
        assert len(batches) == len(sampler)
        seen = Counter(row for batch in batches for row in batch)
        assert not seen or max(seen.values()) == 1
        for batch in batches:
            within = Counter(labels[row] for row in batch)
            assert len(within) >= 2
            assert min(within.values()) >= 2
            assert len(batch) == 2 * half if drop_last else len(batch) <= 2 * half
        most, others = max(pairs.values()), sum(pairs.values()) - max(pairs.values())
        if not drop_last and sum(pairs.values()) % half == 0 and most <= (half - 1) * others:
            # Nothing forces rows out but an odd one per label.
            assert sum(seen.values()) == 2 * sum(pairs.values())
        if sum(pairs.values()) <= len(sampler) * half:
            assert {labels[row] for row in seen} == set(pairs)


def test_odd_rows_take_turns() -> None:
    labels = [0] * 5 + [1] * 5
    sampler = GroupByLabelSampler(labelled(list(labels)), SamplerOptions(4))
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        rows = {row for batch in sampler for row in batch}
        assert len(rows) == 8
        seen |= rows
    assert seen == set(range(10))


def test_labels_that_do_not_fit_take_turns() -> None:
    sampler = GroupByLabelSampler(labelled([0, 0, 1, 1, 2, 2]), SamplerOptions(4))
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        (batch,) = sampler
        assert len(batch) == 4
        seen |= set(batch)
    assert seen == set(range(6))


def test_one_in_ten_is_positive_and_all_positives_are_used() -> None:
    labels = [float(i % 10 == 0) for i in range(400)]
    sampler = GroupByLabelSampler(labelled(list(labels)), SamplerOptions(16))
    batches = list(sampler)
    assert sum(map(len, batches)) == 320  # 20 batches: 14 negatives for every 2 positives
    assert all(sum(labels[row] for row in batch) == 2 for batch in batches)


def test_lone_labels_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        GroupByLabelSampler(labelled([0, 0, 1, 1, 2]), SamplerOptions(4))
    assert "leaves out 1 rows whose label no other row has" in caplog.text


@pytest.mark.parametrize("column", ["label", "labels", "score", "scores"])
def test_by_name_and_with_any_label_column(column: str) -> None:
    data = labelled([0, 1] * 4, column)
    sampler = build_batch_sampler(data, "group_by_label", "random", SamplerOptions(4))
    assert isinstance(sampler, GroupByLabelSampler)
    assert [len(batch) for batch in sampler] == [4, 4]


@pytest.mark.parametrize(
    ("data", "size", "error", "words"),
    [
        (labelled([0, 0, 1, 1]), 5, InputError, "an even batch size of at least 4.* found 5"),
        (labelled([0, 0, 1, 1]), 2, InputError, "found 2"),
        (labelled([0, 0, 1, 2]), 4, LabelError, "of 3 labels, 1 have two rows"),
        (labelled([[0], [1]]), 4, LabelError, "found a list of them"),
        (labelled([0, 1], "grade"), 4, LabelError, "needs a label column.*found 'q', 'd', 'grade'"),
    ],
)
def test_mistakes(data: Dataset, size: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        GroupByLabelSampler(data, SamplerOptions(size))
