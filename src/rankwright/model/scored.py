"""Texts to scores, whatever computes the logits: one path for every backend, without torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.ahead import chunks, one_ahead
from rankwright.engine.prompted import TemplateTokenizer
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import ScoreError
from rankwright.model.pairs import Pair

__all__ = [
    "Computed",
    "ScoredPairs",
    "ScoringJob",
    "compute_logits",
    "finish_distinct",
    "score_distinct",
]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ScoredPairs:
    """Scores and how they came about; P pairs in the order of the input.

    Attributes:
        scores: ``(P,)`` float32 for one label, else ``(P, num_labels)``.
        logits: ``(P, num_labels)`` float32, before the activation.
        lengths: ``(P,)`` int64 tokens per pair after truncation, special tokens included.
        truncated: How many distinct pairs were longer than ``max_length`` and lost tokens.
        max_length: Most tokens a pair could have.
    """

    scores: Floats
    logits: Floats
    lengths: NDArray[np.int64]
    truncated: int
    max_length: int

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class ScoringJob:
    """What one call asks for.

    Attributes:
        num_labels: Outputs per pair.
        max_length: Most tokens per pair.
        prompt: Put before every query.
    """

    num_labels: int
    max_length: int
    prompt: str = ""


def score_distinct(
    pairs: list[Pair],
    job: ScoringJob,
    tokenizer: PairTokenizer | TemplateTokenizer,
    run: Callable[[Iterator[TokenizedPairs], int], Floats],
    activate: Callable[[Floats], Floats],
) -> ScoredPairs:
    """Scores every pair; equal pairs are computed once and get the very same score.

    Args:
        pairs: P pairs.
        job: Labels, length and prompt.
        tokenizer: Of the model.
        run: Gives the ``(P, num_labels)`` logits of pairs that come tokenised, in pieces; told
            beforehand how many there will be.
        activate: ``(P, num_labels)`` logits to scores of the same shape.

    Raises:
        ScoreError: A logit or a score is NaN.
    """

    def compute(distinct: list[Pair]) -> Computed:
        prompted = [(job.prompt + query, document) for query, document in distinct]
        return compute_logits(prompted, tokenizer, job.max_length, run)

    return finish_distinct(pairs, job, compute, activate)


@dataclass(frozen=True)
class Computed:
    """What the model gave for P pairs: `ScoredPairs` before the activation."""

    logits: Floats
    lengths: NDArray[np.int64]
    truncated: int


def compute_logits(
    pairs: list[Pair],
    tokenizer: PairTokenizer | TemplateTokenizer,
    max_length: int,
    run: Callable[[Iterator[TokenizedPairs], int], Floats],
) -> Computed:
    """Tokenises pairs, with their prompts, one piece ahead of what is running.

    Args:
        pairs: At least one pair.
        tokenizer: Of the model.
        max_length: Most tokens per pair.
        run: As in `score_distinct`.
    """
    lengths: list[NDArray[np.int64]] = []
    truncated = 0

    def tokenised() -> Iterator[TokenizedPairs]:
        nonlocal truncated
        pieces = one_ahead(partial(_encode, tokenizer, max_length), chunks(pairs))
        for tokens in pieces:
            lengths.append(tokens.lengths)
            truncated += tokens.truncated
            yield tokens

    logits = run(tokenised(), len(pairs))
    return Computed(logits, np.concatenate(lengths), truncated)


def finish_distinct(
    pairs: list[Pair],
    job: ScoringJob,
    compute: Callable[[list[Pair]], Computed],
    activate: Callable[[Floats], Floats],
) -> ScoredPairs:
    """Logits of the distinct pairs to scores of all, wherever the logits are computed.

    Args:
        pairs: P pairs.
        job: Labels and length.
        compute: Gives the logits of distinct pairs, which have no prompt yet.
        activate: As in `score_distinct`.

    Raises:
        ScoreError: A logit or a score is NaN.
    """
    if not pairs:
        shape = (0,) if job.num_labels == 1 else (0, job.num_labels)
        none = np.zeros(shape, np.float32)
        logits = np.zeros((0, job.num_labels), np.float32)
        return ScoredPairs(none, logits, np.zeros(0, np.int64), 0, job.max_length)
    place = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    spread = np.fromiter((place[pair] for pair in pairs), np.int64, len(pairs))
    computed = compute(list(place))
    logits = computed.logits[spread]
    if computed.truncated:
        logger.warning(
            "%d of %d distinct pairs were longer than max_length=%d tokens and lost their ends. "
            "Raise max_length or split the documents if the ends matter.",
            computed.truncated,
            len(place),
            job.max_length,
        )
    _refuse_nan(logits, "logit", pairs)
    scores = activate(logits)
    if job.num_labels == 1:
        scores = scores.reshape(len(pairs))
    _refuse_nan(scores, "score", pairs)
    lengths = computed.lengths[spread]
    return ScoredPairs(scores, logits, lengths, computed.truncated, job.max_length)


def _encode(
    tokenizer: PairTokenizer | TemplateTokenizer, max_length: int, pairs: Sequence[Pair]
) -> TokenizedPairs:
    return tokenizer.encode(pairs, max_length)


def _refuse_nan(values: Floats, what: str, pairs: list[Pair]) -> None:
    bad = np.isnan(values.reshape(len(pairs), -1)).any(axis=1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ScoreError(
            f"The {what} of {int(bad.sum())} of {len(pairs)} pairs is NaN, first at index {index}. "
            "Either the weights hold NaN (a training that diverged: lower the learning rate), or "
            "the precision is too narrow (use precision='float32')."
        )
