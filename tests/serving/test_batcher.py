"""Batching across requests: every request gets its own scores, whatever happens to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.engine.tokenize import TokenizedPairs
from rankwright.serving.batcher import Batcher, Job, Overloaded, Work


def pairs(*rows: list[int]) -> TokenizedPairs:
    return TokenizedPairs([np.array(row, np.int64) for row in rows], None)


def of(tokens: TokenizedPairs) -> np.ndarray:
    """A stand-in for a model: a pair's logit is the sum of its ids."""
    return np.array([ids.sum() for ids in tokens.input_ids], np.float32)


class Gate:
    """A model that waits until it may go on, and remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[TokenizedPairs] = []

    def __call__(self, tokens: TokenizedPairs) -> np.ndarray:
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append(tokens)
        return of(tokens)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_a_lone_request_runs_at_once() -> None:
    batcher = Batcher(of, 100, 1000)
    job = Job(pairs([1, 2], [3], [4, 5, 6]))
    batcher.submit(job)
    assert job.done.result(5).tolist() == [3, 3, 15]
    assert batcher.waiting_tokens == 0
    batcher.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=6),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 20),
)
def test_every_request_gets_its_own_scores(requests: list[list[list[int]]], budget: int) -> None:
    passes: list[Work] = []
    batcher = Batcher(of, budget, 10_000, passes.append)
    jobs = [Job(pairs(*rows)) for rows in requests]
    for job in jobs:
        batcher.submit(job)
    for job, rows in zip(jobs, requests, strict=True):
        assert job.done.result(5).tolist() == [sum(row) for row in rows]
    batcher.close()
    assert sum(work.pairs for work in passes) == sum(len(rows) for rows in requests)
    longest = max(len(row) for rows in requests for row in rows)
    assert all(work.tokens <= max(budget, longest) for work in passes)


def test_requests_that_wait_share_a_pass(gate: Gate) -> None:
    batcher = Batcher(gate, 100, 1000)
    jobs = [Job(pairs([i])) for i in range(6)]
    batcher.submit(jobs[0])
    assert gate.entered.wait(5)
    for job in jobs[1:]:
        batcher.submit(job)
    gate.open.set()
    assert [job.done.result(5).tolist() for job in jobs] == [[i] for i in range(6)]
    assert [len(batch) for batch in gate.batches] == [1, 5]
    assert all(job.queued >= 0 for job in jobs)
    batcher.close()


def test_a_large_request_does_not_hold_up_a_small_one(gate: Gate) -> None:
    batcher = Batcher(gate, 10, 100_000)
    batcher.submit(Job(pairs([0])))
    assert gate.entered.wait(5)
    large, small = Job(pairs(*[[1] * 5] * 200)), Job(pairs([7]))
    batcher.submit(large)
    batcher.submit(small)
    done: list[str] = []
    large.done.add_done_callback(lambda _: done.append("large"))
    small.done.add_done_callback(lambda _: done.append("small"))
    gate.open.set()
    large.done.result(10)
    assert done == ["small", "large"]
    before_small = next(
        i for i, batch in enumerate(gate.batches) if any(7 in ids for ids in batch.input_ids)
    )
    assert before_small <= 4
    batcher.close()


@pytest.mark.parametrize("waited", [0.0, 30.0])
def test_half_of_a_round_is_for_who_has_waited_long(gate: Gate, waited: float) -> None:
    batcher = Batcher(gate, 100, 100_000)
    first = Job(pairs([1]))
    batcher.submit(first)
    assert gate.entered.wait(5)
    now = time.monotonic()
    small = [Job(pairs(*[[2] * 10] * 5), now + 60) for _ in range(60)]
    large = Job(pairs(*[[3] * 10] * 60), now + 60, submitted=now - waited)
    for job in (*small, large):
        batcher.submit(job)
    gate.open.set()
    assert large.done.result(10).tolist() == [30.0] * 60
    assert all(job.done.result(10).tolist() == [20.0] * 5 for job in small)
    batcher.close()
    # The pairs of the first round, by whose they are: 73 of 10 tokens each fit into it.
    ids = [int(row[0]) for batch in gate.batches[1:] for row in batch.input_ids][:73]
    assert (ids.count(3), ids.count(2)) == ((36, 37) if waited else (0, 73))


def test_a_full_queue_refuses_and_says_when_to_return(gate: Gate) -> None:
    batcher = Batcher(gate, 10, 20)
    batcher.submit(Job(pairs([1] * 5)))
    assert gate.entered.wait(5)
    batcher.submit(Job(pairs([1] * 15)))
    with pytest.raises(Overloaded) as refused:
        batcher.submit(Job(pairs([1])))
    assert refused.value.retry_after >= 1
    gate.open.set()
    batcher.close()


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    batcher = Batcher(of, 10, 20)
    job = Job(pairs(*[[1] * 10] * 9))
    batcher.submit(job)
    assert job.done.result(5).tolist() == [10.0] * 9
    batcher.close()


def test_cancelled_and_late_requests_cost_nothing(gate: Gate) -> None:
    batcher = Batcher(gate, 10, 1000)
    first = Job(pairs([1]))
    batcher.submit(first)
    assert gate.entered.wait(5)
    cancelled = Job(pairs(*[[2] * 5] * 50))
    late = Job(pairs([3]), deadline=time.monotonic())
    last = Job(pairs([4]))
    for job in (cancelled, late, last):
        batcher.submit(job)
    cancelled.cancel()
    gate.open.set()
    assert last.done.result(5).tolist() == [4]
    with pytest.raises(TimeoutError, match="deadline"):
        late.done.result(5)
    seen = {int(i) for batch in gate.batches for ids in batch.input_ids for i in ids}
    assert seen == {1, 4}
    assert batcher.waiting_tokens == 0
    batcher.close()


def test_only_the_culprit_fails(gate: Gate) -> None:
    def picky(tokens: TokenizedPairs) -> np.ndarray:
        logits = gate(tokens)
        if any(13 in ids for ids in tokens.input_ids):
            raise ValueError("thirteen")
        return np.where(logits == 99, np.nan, logits)

    batcher = Batcher(picky, 1000, 1000)
    jobs = [Job(pairs([i])) for i in (1, 13, 2, 99, 3)]
    for job in jobs:
        batcher.submit(job)
    gate.open.set()
    assert [job.done.result(5).tolist() for job in (jobs[0], jobs[2], jobs[4])] == [[1], [2], [3]]
    with pytest.raises(ValueError, match="thirteen"):
        jobs[1].done.result(5)
    with pytest.raises(ArithmeticError, match="not a finite number"):
        jobs[3].done.result(5)
    assert batcher.waiting_tokens == 0
    batcher.close()


def test_closing_ends_what_waits(gate: Gate) -> None:
    batcher = Batcher(gate, 10, 1000)
    batcher.submit(Job(pairs([1])))
    assert gate.entered.wait(5)
    waiting = Job(pairs([2]))
    batcher.submit(waiting)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.open.set()
    closing.join(5)
    with pytest.raises(RuntimeError, match="stopping"):
        waiting.done.result(5)
    with pytest.raises(RuntimeError, match="stopping"):
        batcher.submit(Job(pairs([3])))


def test_many_threads_at_once() -> None:
    batcher = Batcher(of, 16, 1_000_000)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            rows = [rng.integers(0, 9, rng.integers(1, 9)).tolist() for _ in range(5)]
            job = Job(pairs(*rows))
            batcher.submit(job)
            if rng.random() < 0.2:
                job.cancel()
            elif job.done.result(10).tolist() != [sum(row) for row in rows]:
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    batcher.close()
    assert batcher.waiting_tokens == 0
