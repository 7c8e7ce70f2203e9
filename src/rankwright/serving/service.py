"""`RerankService`: a request's texts in, ranked results out; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import InputError
from rankwright.serving.batcher import Batcher, Job, Overloaded
from rankwright.serving.metrics import Metrics
from rankwright.serving.model import ServedModel, sigmoid
from rankwright.serving.problems import Problem
from rankwright.serving.reading import Asked, Prepared, Reader
from rankwright.serving.settings import ServerSettings
from rankwright.serving.windows import Window, combine

__all__ = ["Answer", "Asked", "RerankService", "Scored", "Scores"]

TOKENISERS = 2
LARGE_CHARACTERS = 500_000
"""Requests with more text than this take seconds to tokenise; they wait for each other in a thread
of their own, and small ones pass them by."""


@dataclass(frozen=True)
class Scored:
    """One pair's result.

    Attributes:
        index: Its place in the request.
        score: Its score.
        spans: Windows of its document with their scores, best first.
    """

    index: int
    score: float
    spans: tuple[tuple[Window, float], ...]


@dataclass(frozen=True)
class Answer:
    """All pairs of a request, in its order.

    Attributes:
        results: One per pair.
        tokens: Tokens that went through the model.
        truncated: How many pairs lost tokens.
        ignored: What of the request had no effect, in words.
        tokenise_seconds: Time spent on tokens.
        queue_seconds: Time spent waiting for the model.
        score_seconds: Time from the first forward pass to the last.
    """

    results: list[Scored]
    tokens: int
    truncated: int
    ignored: tuple[str, ...] = ()
    tokenise_seconds: float = 0.0
    queue_seconds: float = 0.0
    score_seconds: float = 0.0


Scores = NDArray[np.float32]


class RerankService:
    """Scores pairs for many requests at once.

    Args:
        model: The model.
        settings: Limits.
        metrics: Where figures go.
    """

    def __init__(self, model: ServedModel, settings: ServerSettings, metrics: Metrics) -> None:
        self.model = model
        self.settings = settings
        self.metrics = metrics
        self.batcher = Batcher(
            model.logits,
            settings.batch_tokens or model.batch_tokens,
            settings.max_queue_tokens,
            metrics.work,
        )
        metrics.watch(lambda: self.batcher.waiting_tokens, lambda: self.batcher.tokens_per_second)
        self._reader = Reader(model, settings)
        self._tokenisers = ThreadPoolExecutor(TOKENISERS, "rankwright-tokenise")
        self._large = ThreadPoolExecutor(1, "rankwright-tokenise-large")

    def close(self) -> None:
        """Stops the threads; requests that still wait get an error."""
        self.batcher.close()
        self._tokenisers.shutdown(wait=False, cancel_futures=True)
        self._large.shutdown(wait=False, cancel_futures=True)

    async def score(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> Answer:
        """Scores (query, document) pairs.

        Raises:
            Problem: The request cannot be answered.
            asyncio.CancelledError: The client went away; its pairs are not scored any further.
        """
        began = time.perf_counter()
        deadline = asked.deadline or time.monotonic() + self.settings.deadline_seconds
        loop = asyncio.get_running_loop()
        try:
            large = sum(len(query) + len(text) for query, text in pairs) > LARGE_CHARACTERS
            prepared = await loop.run_in_executor(
                self._large if large else self._tokenisers, self._reader.prepare, pairs, asked
            )
        except InputError as error:
            raise Problem(422, "validation", str(error)) from None
        tokens = int(prepared.tokens.lengths.sum())
        if tokens > self.settings.max_request_tokens:
            raise Problem(
                413,
                "too_large",
                f"the request has {tokens} tokens; at most {self.settings.max_request_tokens} are "
                "allowed. Send fewer or shorter documents.",
            )
        tokenised = time.perf_counter()
        job = Job(prepared.tokens, deadline)
        try:
            self.batcher.submit(job)
            logits = await asyncio.wait_for(
                asyncio.wrap_future(job.done), max(deadline - time.monotonic(), 0)
            )
        except Overloaded as error:
            self.metrics.rejected("queue")
            raise Problem(429, "overloaded", f"{error}", error.retry_after) from None
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
            job.cancel()
            raise Problem(
                504,
                "timeout",
                "no result before the deadline. Send fewer documents, or try again when the "
                "server is less busy.",
            ) from error
        except asyncio.CancelledError:
            job.cancel()
            raise
        except Exception as error:
            raise Problem(500, "backend", f"scoring failed: {error}") from error
        self.metrics.truncated(sum(prepared.cut))
        results = self._results(prepared, logits, asked)
        queued = max(job.queued, 0.0)
        return Answer(
            results,
            tokens,
            sum(prepared.cut),
            prepared.ignored,
            tokenised - began,
            queued,
            max(time.perf_counter() - tokenised - queued, 0.0),
        )

    def convert(self, logits: Scores, kind: str) -> Scores:
        """Logits as the scores a request asks for; see `Asked`."""
        if kind == "raw":
            return logits
        if kind == "probability" and not self.model.bounded:
            return sigmoid(logits)
        return self.model.scores(logits)

    def _results(self, prepared: Prepared, logits: Scores, asked: Asked) -> list[Scored]:
        how = asked.long_documents or self.settings.long_documents
        each = self.convert(logits, asked.scores)
        # Windows are combined before the activation: a mean of probabilities would squeeze.
        starts = np.cumsum([0] + [len(seen) for seen in prepared.windows])
        joined = np.array(
            [combine(logits[a:b], how) for a, b in itertools.pairwise(starts)],
            np.float32,
        )
        scores = self.convert(joined, asked.scores).tolist()
        results = []
        for index, (seen, score) in enumerate(zip(prepared.windows, scores, strict=True)):
            own = each[starts[index] : starts[index + 1]].tolist()
            spans = sorted(zip(seen, own, strict=True), key=lambda pair: -pair[1])
            results.append(Scored(index, score, tuple(spans)))
        return results
