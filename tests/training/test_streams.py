from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader

from rankwright.errors import EmptyDataError, InputError
from rankwright.training.loaders import OnlyElement
from rankwright.training.sampling.base import SamplerOptions, ShuffledSampler
from rankwright.training.sampling.mixing import NamedRows
from rankwright.training.streams import BatchStream, Endless, FromSampler, FromStream


def flat(counts: list[int], name: str = "q") -> list[dict[str, Any]]:
    """Rows of queries with these numbers of documents; the last document is the relevant one."""
    return [
        {"query": f"{name}{i}", "document": f"{name}{i} d{j}", "label": float(j == count - 1)}
        for i, count in enumerate(counts)
        for j in range(count)
    ]


def stream(rows: list[dict[str, Any]]) -> Any:
    return IterableDataset.from_generator(lambda: iter(rows))


def batches(rows: Any, kind: str, size: int = 4, **options: Any) -> list[list[dict[str, Any]]]:
    return list(FromStream(rows, kind, SamplerOptions(size, **options)))


def test_rows_in_their_own_order() -> None:
    rows = flat([3, 4, 3])
    found = batches(stream(rows), "batch_sampler")
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert list(itertools.chain(*found)) == rows


def test_whole_queries() -> None:
    counts = [3, 1, 2, 5, 2]
    found = batches(stream(flat(counts)), "query_grouped", size=2)
    queries = [[row["query"] for row in batch] for batch in found]
    assert queries == [["q0"] * 3 + ["q1"], ["q2"] * 2 + ["q3"] * 5, ["q4"] * 2]


def test_a_long_list_keeps_its_relevant_document(caplog: pytest.LogCaptureFixture) -> None:
    counts = [30, 2, 40]
    with caplog.at_level(logging.WARNING):
        found = batches(stream(flat(counts)), "query_grouped", size=1, max_documents=5)
    assert [len(batch) for batch in found] == [5, 2, 5]
    assert all(sum(row["label"] for row in batch) == 1.0 for batch in found)
    assert caplog.text.count("only 5 rows are seen in one pass") == 1


def test_one_query_alone_in_an_endless_stream_is_a_group_per_pass() -> None:
    endless = FromStream(Endless(stream(flat([3]))), "query_grouped", SamplerOptions(1))
    found = list(itertools.islice(endless, 3))
    assert [len(batch) for batch in found] == [3, 3, 3]


def test_a_stream_that_is_not_sorted_by_query_draws_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rankwright.training.streams._ENOUGH", 6)
    with caplog.at_level(logging.WARNING):
        batches(stream(flat([1] * 7)), "query_grouped")
    assert "no two neighbouring rows with the same query among the first 6 rows" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        batches(stream(flat([1] * 5 + [2] + [1] * 7)), "query_grouped")
    assert caplog.text == ""


def test_rows_that_are_lists_already_are_groups() -> None:
    rows = [{"query": f"q{i // 2}", "docs": ["a", "b"], "labels": [1, 0]} for i in range(4)]
    found = batches(stream(rows), "query_grouped", size=3)
    assert found == [rows[:3], rows[3:]]


def test_no_text_twice_and_no_row_lost() -> None:
    rows = [{"q": f"q{i % 7}", "d": f"d{i % 11}", "label": 1.0} for i in range(77)]
    found = batches(stream(rows), "no_duplicates", size=5)
    for batch in found:
        texts = [text for row in batch for text in (row["q"], row["d"])]
        assert len(set(texts)) == len(texts)
    seen = Counter((row["q"], row["d"]) for batch in found for row in batch)
    assert seen == Counter((row["q"], row["d"]) for row in rows)


def test_few_rows_wait_however_many_clash() -> None:
    """Short batches, rather than reading a stream whose rows all clash to its end."""
    read = 0

    def same() -> Iterator[dict[str, str]]:
        nonlocal read
        for i in itertools.count():
            read += 1
            yield {"q": "same", "d": f"d{i}"}

    found = list(itertools.islice(FromStream(same(), "no_duplicates", SamplerOptions(2)), 5))
    assert [len(batch) for batch in found] == [1] * 5
    assert read < 120


def test_nearly_equal_lengths_and_every_row_once() -> None:
    rows = [{"q": "q", "d": "x" * (i * 37 % 101), "n": str(i)} for i in range(101)]
    found = batches(stream(rows), "length_grouped", size=8)
    assert sorted(int(row["n"]) for batch in found for row in batch) == list(range(101))
    spans = [max(lengths) - min(lengths)
             for lengths in ([len(row["d"]) for row in batch] for batch in found)]  # fmt: skip
    assert max(spans) <= 8
    firsts = [len(batch[0]["d"]) for batch in found]
    assert firsts != sorted(firsts, reverse=True)
    assert found == batches(stream(rows), "length_grouped", size=8)
    assert found != batches(stream(rows), "length_grouped", size=8, seed=1)


def test_each_batch_of_a_mixture_comes_from_one_data_set() -> None:
    sized = Dataset.from_list(flat([1] * 5, "sized"))
    sources = {
        "a": FromStream(Endless(stream(flat([1] * 3, "a"))), "batch_sampler", SamplerOptions(2)),
        "b": FromSampler(sized, ShuffledSampler(5, SamplerOptions(2))),
    }
    found: list[Any] = list(itertools.islice(BatchStream(sources, [1.0, 2.0]), 12))
    assert all(isinstance(batch, NamedRows) for batch in found)
    assert Counter(batch.dataset_name for batch in found) == {"a": 4, "b": 8}
    for batch in found:
        start = {"a": "a", "b": "sized"}[batch.dataset_name]
        assert all(row["query"].startswith(start) for row in batch)
    again = list(itertools.islice(BatchStream(sources, [1.0, 2.0]), 12))
    assert again == found
    # Passes over the data set with a length: 5 rows in 3 batches, reshuffled.
    passes = [row["query"] for batch in found if batch.dataset_name == "b" for row in batch]
    assert sorted(passes[:5]) == sorted(passes[5:10])
    assert passes[:5] != passes[5:10]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_share_a_data_set_with_a_length(workers: int) -> None:
    """In the same order for any number of them."""
    sized = Dataset.from_list(flat([1] * 6))
    source = FromSampler(sized, ShuffledSampler(6, SamplerOptions(2)))
    loader = DataLoader(
        BatchStream({None: source}), batch_size=1, collate_fn=OnlyElement(list), num_workers=workers
    )
    found = list(itertools.islice(loader, 6))
    assert found == list(itertools.islice(source, 6))


def test_what_gives_nothing_is_refused() -> None:
    with pytest.raises(EmptyDataError, match="the training stream has no rows"):
        list(Endless(stream([])))
    sized = Dataset.from_list(flat([1]))
    none = FromSampler(sized, ShuffledSampler(1, SamplerOptions(2, drop_last=True)))
    with pytest.raises(InputError, match="gives no batch"):
        next(iter(none))
