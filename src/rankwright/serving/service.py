"""`RerankService`: a request's texts in, ranked results out; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.tokenize import TokenizedPairs
from rankwright.serving.batcher import Batcher, Job, Overloaded
from rankwright.serving.metrics import Metrics
from rankwright.serving.model import ServedModel, sigmoid
from rankwright.serving.problems import Problem
from rankwright.serving.settings import ServerSettings
from rankwright.serving.windows import Window, combine, cut, windows_of

__all__ = ["Answer", "Asked", "RerankService", "Scored", "Scores"]

TOKENISERS = 2


@dataclass(frozen=True)
class Asked:
    """How a request wants its pairs scored.

    Attributes:
        scores: ``"model"`` for the model's own scores, ``"probability"`` for the same brought
            between 0 and 1 if they are not there, ``"raw"`` for logits.
        max_tokens_per_doc: Longer documents are cut; None cuts only what the model cannot take.
        max_tokens_per_query: Longer queries are cut.
        long_documents: One of `rankwright.serving.settings.LONG_DOCUMENTS`; None for the
            server's default.
        refuse_long: Whether a pair that would be cut is an error instead.
        deadline: Monotonic time after which nobody wants the result; None for the server's.
    """

    scores: str = "model"
    max_tokens_per_doc: int | None = None
    max_tokens_per_query: int | None = None
    long_documents: str | None = None
    refuse_long: bool = False
    deadline: float | None = None


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
        tokenise_seconds: Time spent on tokens.
        queue_seconds: Time spent waiting for the model.
        score_seconds: Time from the first forward pass to the last.
    """

    results: list[Scored]
    tokens: int
    truncated: int
    tokenise_seconds: float = 0.0
    queue_seconds: float = 0.0
    score_seconds: float = 0.0


Scores = NDArray[np.float32]


@dataclass
class _Prepared:
    """A request's pairs after windows and tokens."""

    tokens: TokenizedPairs
    windows: list[list[Window]]
    cut: list[bool]
    texts: list[tuple[str, str]] = field(default_factory=list)


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
        self._tokenisers = ThreadPoolExecutor(TOKENISERS, "rankwright-tokenise")

    def close(self) -> None:
        """Stops the threads; requests that still wait get an error."""
        self.batcher.close()
        self._tokenisers.shutdown(wait=False, cancel_futures=True)

    async def score(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> Answer:
        """Scores (query, document) pairs.

        Raises:
            Problem: The request cannot be answered.
            asyncio.CancelledError: The client went away; its pairs are not scored any further.
        """
        began = time.perf_counter()
        deadline = asked.deadline or time.monotonic() + self.settings.deadline_seconds
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._tokenisers, self._prepare, pairs, asked)
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

    def _prepare(self, pairs: Sequence[tuple[str, str]], asked: Asked) -> _Prepared:
        tokenizer, prompt = self.model.tokenizer, self.model.prompt()
        how = asked.long_documents or self.settings.long_documents
        windows: list[list[Window]] = []
        was_cut: list[bool] = []
        texts: list[tuple[str, str]] = []
        for query, document in pairs:
            lost = False
            if asked.max_tokens_per_query:
                query, lost = cut(tokenizer, query, asked.max_tokens_per_query)
            if asked.max_tokens_per_doc:
                document, shorter = cut(tokenizer, document, asked.max_tokens_per_doc)
                lost = lost or shorter
            seen = [Window(0, len(document))]
            if how != "first":
                seen, shorter = self._windows(prompt + query, document)
                lost = lost or shorter
            windows.append(seen)
            was_cut.append(lost)
            texts.extend((prompt + query, document[w.start : w.stop]) for w in seen)
        tokens = tokenizer.encode(texts, self.model.max_length)
        if tokens.truncated:
            self._find_cut(texts, windows, was_cut)
        if asked.refuse_long and any(was_cut):
            raise Problem(
                413,
                "validation",
                f"the pair at index {was_cut.index(True)} is longer than {self.model.max_length} "
                "tokens. Shorten it, or allow truncation.",
            )
        return _Prepared(tokens, windows, was_cut)

    def _windows(self, query: str, document: str) -> tuple[list[Window], bool]:
        tokenizer = self.model.tokenizer
        room = self.model.max_length - tokenizer.special_tokens - tokenizer.token_counts([query])[0]
        # A query that leaves hardly any room is cut by the model's own rule instead.
        room = max(room, self.model.max_length // 4)
        return windows_of(tokenizer, document, room, self.settings.max_windows)

    def _find_cut(
        self, texts: list[tuple[str, str]], windows: list[list[Window]], was_cut: list[bool]
    ) -> None:
        tokenizer = self.model.tokenizer
        room = self.model.max_length - tokenizer.special_tokens
        queries = tokenizer.token_counts([query for query, _ in texts])
        documents = tokenizer.token_counts([document for _, document in texts])
        place = 0
        for index, seen in enumerate(windows):
            for n, m in zip(
                queries[place : place + len(seen)],
                documents[place : place + len(seen)],
                strict=True,
            ):
                was_cut[index] = was_cut[index] or n + m > room
            place += len(seen)

    def _results(self, prepared: _Prepared, logits: Scores, asked: Asked) -> list[Scored]:
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
