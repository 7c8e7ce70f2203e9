"""Pairs of many requests through one model, a bounded number of tokens at a time.

One thread runs the model. While it works, requests wait; when it is free, it takes pairs from all
of them, oldest request first but none more than its fair share, sorts what it took by length and
runs it in batches of at most so many tokens. So batches fill by themselves under load, a lone
request never waits for company, and a large request cannot hold up the small ones behind it. Half
of a round is for requests that have waited long, so that the large ones are done in time as well.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.schedule import token_batches
from rankwright.engine.tokenize import TokenizedPairs

__all__ = ["Batcher", "Job", "Overloaded", "Work"]

Scorer = Callable[[TokenizedPairs], NDArray[np.float32]]

BATCHES_PER_ROUND = 8
"""Batches that are filled from the queue at a time: enough to sort, few enough that a new or
cancelled request is noticed soon."""
FILLED = 0.92
"""How full batches get: each ends before the pair that would not fit. A round takes so much less
than its batches could hold; what is left over would else be a small batch of its own."""
LONG = 0.25
"""Part of the time until its deadline after which a request has waited long."""


class Overloaded(Exception):
    """The queue is full.

    Attributes:
        retry_after: Seconds after which there should be room.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Work:
    """What one forward pass did, for metrics."""

    pairs: int
    tokens: int
    requests: int
    seconds: float


@dataclass
class Job:
    """The pairs of one request on their way through the model.

    Attributes:
        pairs: Its tokenised pairs, at least one.
        deadline: Monotonic time after which nobody wants the result.
        done: Gets the ``(P,)`` logits, or the exception that stopped them.
        queued: Seconds between submission and its first forward pass; -1 before.
    """

    pairs: TokenizedPairs
    deadline: float = math.inf
    done: Future[NDArray[np.float32]] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    queued: float = -1.0
    _next: int = 0
    _left: int = 0
    _logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        self._left = len(self.pairs)
        self._logits = np.empty(self._left, np.float32)

    def cancel(self) -> None:
        """Nobody waits any more: pairs that have not run yet never will."""
        self.done.cancel()

    @property
    def wanted(self) -> bool:
        """Whether its result can still be used."""
        return not self.done.done()

    def expire(self, now: float) -> None:
        """Ends it with `TimeoutError` if its deadline has passed."""
        if now >= self.deadline and self.wanted:
            _settle(self.done, error=TimeoutError("the deadline passed before scoring was done"))

    def take(self, most_tokens: int) -> list[int]:
        """Positions of its next pairs, of at most so many tokens, but at least one pair."""
        begin = self._next
        tokens = 0
        while self._next < len(self.pairs):
            tokens += int(self.pairs.lengths[self._next])
            if tokens > most_tokens and self._next > begin:
                break
            self._next += 1
        return list(range(begin, self._next))

    @property
    def exhausted(self) -> bool:
        """Whether all its pairs have been taken."""
        return self._next >= len(self.pairs)

    @property
    def untaken_tokens(self) -> int:
        """Tokens of the pairs not taken yet."""
        return int(self.pairs.lengths[self._next :].sum())

    def waited_long(self, now: float) -> bool:
        """Whether so much of its time is over that fair shares may not be enough."""
        return now - self.submitted > LONG * (self.deadline - self.submitted)

    def put(self, position: int, logit: float) -> None:
        """Stores one result; the last one completes the job."""
        assert self._logits is not None
        self._logits[position] = logit
        self._left -= 1
        if self._left == 0:
            _settle(self.done, self._logits)


def _settle(
    future: Future[NDArray[np.float32]],
    value: NDArray[np.float32] | None = None,
    error: BaseException | None = None,
) -> None:
    """Completes a future unless somebody cancelled or completed it first."""
    try:
        if error is not None:
            future.set_exception(error)
        elif value is not None:
            future.set_result(value)
    except InvalidStateError:
        pass  # cancelled, or ended by its deadline, in the meantime


class Batcher:
    """See the module.

    Args:
        score: Runs the model; called from one thread only.
        batch_tokens: Most tokens in one forward pass.
        max_queue_tokens: Most tokens waiting; see `submit`.
        on_work: Called after every forward pass.
    """

    def __init__(
        self,
        score: Scorer,
        batch_tokens: int,
        max_queue_tokens: int,
        on_work: Callable[[Work], None] = lambda _: None,
    ) -> None:
        self._score = score
        self.batch_tokens = batch_tokens
        self.max_queue_tokens = max_queue_tokens
        self._on_work = on_work
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._speed = 10_000.0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rankwright-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting_tokens(self) -> int:
        """Tokens of pairs that have not run yet."""
        return self._waiting

    @property
    def tokens_per_second(self) -> float:
        """A moving average of the model's speed."""
        return self._speed

    def submit(self, job: Job) -> None:
        """Queues a job.

        Raises:
            Overloaded: More tokens would wait than may. A job that is larger than the whole
                queue is taken when nothing else waits.
            RuntimeError: The batcher was closed.
        """
        tokens = int(job.pairs.lengths.sum())
        with self._changed:
            if self._stopping:
                raise RuntimeError("the server is stopping")
            if self._waiting and self._waiting + tokens > self.max_queue_tokens:
                raise Overloaded(max(1.0, math.ceil(self._waiting / self._speed)))
            self._jobs.append(job)
            self._waiting += tokens
            self._changed.notify()

    def close(self, seconds: float = 5.0) -> None:
        """Stops after the present round; jobs that still wait end with an error."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    for job in self._jobs:
                        _settle(job.done, error=RuntimeError("the server is stopping"))
                    self._jobs.clear()
                    self._waiting = 0
                    return
                taken = self._take_round()
            self._work_off(taken)

    def _take_round(self) -> list[tuple[Job, int]]:
        now = time.monotonic()
        for job in self._jobs:
            job.expire(now)
        self._jobs = deque(job for job in self._jobs if job.wanted)
        whole = room = int(FILLED * BATCHES_PER_ROUND * self.batch_tokens)
        taken: list[tuple[Job, int]] = []
        late = [job for job in self._jobs if job.waited_long(now)]
        for job in sorted(late, key=lambda job: job.submitted):
            if room <= whole // 2:
                break
            room -= self._take(job, room - whole // 2, now, taken)
        self._jobs = deque(job for job in self._jobs if not job.exhausted)
        share = max(self.batch_tokens // 2, room // max(len(self._jobs), 1))
        # Whoever got its share and has more goes behind the others, so all of them move on.
        for _ in range(len(self._jobs)):
            if room <= 0:
                break
            job = self._jobs.popleft()
            room -= self._take(job, min(share, room), now, taken)
            if not job.exhausted:
                self._jobs.append(job)
        self._waiting = sum(job.untaken_tokens for job in self._jobs)
        self._waiting += sum(int(job.pairs.lengths[i]) for job, i in taken)
        return taken

    @staticmethod
    def _take(job: Job, most_tokens: int, now: float, taken: list[tuple[Job, int]]) -> int:
        """Adds the job's next pairs to a round; how many tokens they have."""
        if job.queued < 0:
            job.queued = now - job.submitted
        positions = job.take(most_tokens)
        taken.extend((job, position) for position in positions)
        return int(job.pairs.lengths[positions].sum())

    def _work_off(self, taken: list[tuple[Job, int]]) -> None:
        lengths = np.array([job.pairs.lengths[i] for job, i in taken], np.int64)
        for index in token_batches(lengths, self.batch_tokens):
            batch = [taken[i] for i in index if taken[i][0].wanted]
            if batch:
                self._one_pass(batch)
            with self._changed:
                self._waiting -= int(lengths[index].sum())

    def _one_pass(self, batch: list[tuple[Job, int]]) -> None:
        begin = time.perf_counter()
        pairs = _gather(batch)
        try:
            logits = self._score(pairs)
            if not np.isfinite(logits).all():
                raise ArithmeticError("the model gave a score that is not a finite number")
        except Exception as error:  # one request's trouble must not stop the server
            self._after_failure(batch, error)
            return
        seconds = max(time.perf_counter() - begin, 1e-9)
        tokens = int(pairs.lengths.sum())
        self._speed += 0.1 * (tokens / seconds - self._speed)
        # Before the results, so that whoever has its answer finds it counted.
        self._on_work(Work(len(batch), tokens, len({id(job) for job, _ in batch}), seconds))
        for (job, position), logit in zip(batch, logits.tolist(), strict=True):
            job.put(position, logit)

    def _after_failure(self, batch: list[tuple[Job, int]], error: Exception) -> None:
        """Requests that shared a failed pass are tried alone: only the culprit fails."""
        jobs = {id(job): job for job, _ in batch}
        if len(jobs) == 1:
            _settle(batch[0][0].done, error=error)
            return
        for key in jobs:
            self._one_pass([(job, i) for job, i in batch if id(job) == key])


def _gather(batch: list[tuple[Job, int]]) -> TokenizedPairs:
    types = None
    if batch[0][0].pairs.token_type_ids is not None:
        types = [job.pairs.token_type_ids[i] for job, i in batch]  # type: ignore[index]
    return TokenizedPairs([job.pairs.input_ids[i] for job, i in batch], types)
