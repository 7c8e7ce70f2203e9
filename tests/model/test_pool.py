"""Scoring in several processes gives what one process gives, or says what went wrong."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rankwright.errors import InputError, InputTypeError, ScoreError, WorkerError
from rankwright.model import CrossEncoder
from rankwright.model.pool import WorkerJob, WorkerPool, checked_chunk_size, default_devices
from tests.tiny import tiny_model

WORDS = "how do i sort a list of files by size date name in python".split()
QUERY = "sort files by size"


def texts(count: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, size=1 + i % 17)) for i in range(count)]


PAIRS = [(QUERY, text) for text in texts(150)] + [(QUERY, "a list"), (QUERY, "a list")]


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    hf, tokenizer = tiny_model("bert")
    return CrossEncoder.from_transformers(hf, tokenizer, prompts={"ask": "python: "})


@pytest.fixture(scope="module")
def pool(model: CrossEncoder) -> Iterator[WorkerPool]:
    started = model.start_multi_process_pool(["cpu", "cpu"])
    yield started
    model.stop_multi_process_pool(started)
    assert started.closed
    model.stop_multi_process_pool(started)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_size": 7, "prompt_name": "ask"},
        {"chunk_size": 1000, "batch_size": 3, "max_length": 9},
        # A function that no process could be sent.
        {"activation_fn": lambda logits: 3 * logits - 1},
    ],
)
def test_same_scores_in_the_order_of_the_input(
    model: CrossEncoder, pool: WorkerPool, options: dict[str, Any]
) -> None:
    alone = model.predict(PAIRS, **options)
    together = model.predict(PAIRS, pool=pool, **options)
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=4e-6)
    assert len(set(np.round(alone, 5))) > 100
    assert together.dtype == np.float32
    assert together[-1] == together[-2]


def test_every_form_of_input_and_output(model: CrossEncoder, pool: WorkerPool) -> None:
    assert model.predict((QUERY, "a list"), pool=pool).shape == ()
    assert model.predict([], pool=pool).shape == (0,)
    assert isinstance(model.predict(PAIRS, pool=pool, convert_to_tensor=True), torch.Tensor)
    documents = texts(40)
    together = model.rank(QUERY, documents, pool=pool, chunk_size=5)
    alone = model.rank(QUERY, documents)
    assert [hit["corpus_id"] for hit in together] == [hit["corpus_id"] for hit in alone]


def test_longest_pairs_go_first(
    model: CrossEncoder, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[int]] = []
    hand_out = pool._hand_out

    def watch(connection: Any, waiting: Any, pairs: Any, job: Any, at_work: Any) -> None:
        hand_out(connection, waiting, pairs, job, at_work)
        if connection in at_work:
            sent.append([sum(map(len, pairs[row])) for row in at_work[connection]])

    monkeypatch.setattr(pool, "_hand_out", watch)
    model.predict(PAIRS, pool=pool, chunk_size=10)
    sizes = [size for chunk in sent for size in chunk]
    assert len(sent) > 10
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_cut_is_said_once(
    model: CrossEncoder, pool: WorkerPool, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    with caplog.at_level(logging.WARNING, "rankwright"):
        scored = model.score(PAIRS, max_length=8, pool=pool, chunk_size=20)
    alone = model.score(PAIRS, max_length=8)
    assert scored.truncated == alone.truncated > 0
    assert scored.lengths.tolist() == alone.lengths.tolist()
    assert sum("lost their ends" in record.message for record in caplog.records[:1]) == 1
    assert "lost their ends" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_list_of_devices(model: CrossEncoder) -> None:
    before = model.device
    scores = model.predict(PAIRS, device=["cpu", "cpu"])
    np.testing.assert_allclose(scores, model.predict(PAIRS, device=["cpu"]), rtol=1e-6, atol=1e-6)
    assert model.device == before


@pytest.mark.slow
def test_the_pool_keeps_the_weights_it_started_with() -> None:
    hf, tokenizer = tiny_model("bert", num_labels=3)
    model = CrossEncoder.from_transformers(hf, tokenizer)
    with model.start_multi_process_pool(["cpu"]) as started:
        before = model.predict(PAIRS)
        assert before.shape == (len(PAIRS), 3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        np.testing.assert_allclose(model.predict(PAIRS, pool=started), before, rtol=1e-6, atol=1e-6)
    assert started.closed
    with pytest.raises(InputError, match="stopped"):
        model.predict(PAIRS, pool=started)
    with model.start_multi_process_pool(["cpu"]) as started:
        with pytest.raises(ScoreError, match="of 152 pairs is NaN, first at index 0"):
            model.predict(PAIRS, pool=started)
        assert not started.closed  # the processes did what they were asked


@pytest.mark.slow
def test_failures_are_told_and_leave_no_process(model: CrossEncoder) -> None:
    started = model.start_multi_process_pool(["cpu", "cpu"])
    processes = list(started._processes)
    with pytest.raises(WorkerError, match=r"the process on cpu failed:\n(.|\n)*no_such_type"):
        started.compute(PAIRS, WorkerJob("", 16, None, "no_such_type"))
    assert started.closed
    assert not any(process.is_alive() for process in processes)

    started = model.start_multi_process_pool(["cpu"])
    os.kill(started._processes[0].pid, signal.SIGKILL)
    started._processes[0].join()
    with pytest.raises(WorkerError, match=r"came to an end \(exit code -9\)"):
        model.predict(PAIRS, pool=started)
    assert started.closed


def test_arguments_that_cannot_be_used(model: CrossEncoder, pool: WorkerPool) -> None:
    with pytest.raises(InputError, match="device or pool"):
        model.predict(PAIRS, pool=pool, device="cpu")
    with pytest.raises(InputError, match="chunk_size=0"):
        model.predict(PAIRS, pool=pool, chunk_size=0)
    with pytest.raises(InputTypeError, match="expected a list"):
        model.start_multi_process_pool("cpu")
    with pytest.raises(InputError, match="empty"):
        model.predict(PAIRS, device=[])
    with pytest.raises(InputError, match="no cuda:99 here"):
        model.predict(PAIRS, device=["cpu", "cuda:99"])
    with pytest.raises(InputError, match="abacus"):
        model.start_multi_process_pool(["abacus"])
    assert checked_chunk_size(None) is None
    assert checked_chunk_size(3) == 3


def test_a_list_of_devices_is_a_pool_for_one_call(
    model: CrossEncoder, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Borrowed:
        def __init__(self, _: Any, devices: list[str]) -> None:
            made.append(devices)

        def __enter__(self) -> WorkerPool:
            return pool

        def __exit__(self, *exception: object) -> None:
            made.append("closed")

    monkeypatch.setattr("rankwright.model.scoring.WorkerPool", Borrowed)
    model.rank(QUERY, ["a list", "files"], device=["cpu", "cpu"])
    assert made == [["cpu", "cpu"], "closed"]


def test_default_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    assert default_devices() == ["cpu"] * 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert default_devices() == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert default_devices() == ["cuda:0", "cuda:1"]
