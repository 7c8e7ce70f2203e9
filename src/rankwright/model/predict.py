"""Pairs to scores: what `CrossEncoder.predict` and `CrossEncoder.rank` share."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankwright.engine.ahead import chunks, one_ahead
from rankwright.engine.mode import EvaluationMode
from rankwright.engine.scorers import Scorer
from rankwright.engine.scoring import ScoreOptions, score_stream
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputTypeError, ScoreError
from rankwright.model.activations import Activation
from rankwright.model.pairs import Pair

__all__ = ["Parts", "PredictOptions", "ScoredPairs", "score_pairs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """How one call scores; every thread and call has its own.

    Attributes:
        max_length: Most tokens per pair.
        activation: Applied to ``(P, num_labels)`` float32 logits.
        prompt: Put before every query.
        softmax: Whether scores of several labels are made to sum to 1 after the activation.
        engine: Batching and precision.
    """

    max_length: int
    activation: Activation
    prompt: str = ""
    softmax: bool = False
    engine: ScoreOptions = field(default_factory=ScoreOptions)


@dataclass(frozen=True)
class Parts:
    """What scoring needs of a model."""

    module: nn.Module
    tokenizer: PairTokenizer
    scorer: Scorer
    num_labels: int
    evaluation_mode: EvaluationMode


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

    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    lengths: NDArray[np.int64]
    truncated: int
    max_length: int

    def __len__(self) -> int:
        return len(self.scores)


def score_pairs(parts: Parts, pairs: list[Pair], options: PredictOptions) -> ScoredPairs:
    """Scores every pair; equal pairs are computed once and get the very same score.

    Raises:
        ScoreError: The model gave NaN.
        InputTypeError: The activation does not give one row of scores per pair.
    """
    if not pairs:
        shape = (0,) if parts.num_labels == 1 else (0, parts.num_labels)
        none = np.zeros(shape, np.float32)
        logits = np.zeros((0, parts.num_labels), np.float32)
        return ScoredPairs(none, logits, np.zeros(0, np.int64), 0, options.max_length)
    place = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    spread = np.fromiter((place[pair] for pair in pairs), np.int64, len(pairs))
    prompted = [(options.prompt + query, document) for query, document in place]
    lengths: list[NDArray[np.int64]] = []
    truncated = 0

    def tokenised() -> Iterator[TokenizedPairs]:
        nonlocal truncated
        pieces = one_ahead(partial(_encode, parts.tokenizer, options.max_length), chunks(prompted))
        for tokens in pieces:
            lengths.append(tokens.lengths)
            truncated += tokens.truncated
            yield tokens

    # A packed scorer leaves the model's flags alone.
    evaluating = nullcontext() if parts.scorer.packed else parts.evaluation_mode(parts.module)
    with evaluating:
        distinct = score_stream(parts.scorer, tokenised(), len(prompted), options.engine)
    if truncated:
        logger.warning(
            "%d of %d distinct pairs were longer than max_length=%d tokens and lost their ends. "
            "Raise max_length or split the documents if the ends matter.",
            truncated,
            len(prompted),
            options.max_length,
        )
    logits = distinct[spread]
    _refuse_nan(logits, "logit", pairs)
    scores = _activated(logits, options)
    if parts.num_labels == 1:
        scores = scores.reshape(len(pairs))
    _refuse_nan(scores, "score", pairs)
    tokens = np.concatenate(lengths)[spread]
    return ScoredPairs(scores, logits, tokens, truncated, options.max_length)


def _encode(tokenizer: PairTokenizer, max_length: int, pairs: Sequence[Pair]) -> TokenizedPairs:
    return tokenizer.encode(pairs, max_length)


def _activated(logits: NDArray[np.float32], options: PredictOptions) -> NDArray[np.float32]:
    with torch.inference_mode():
        scores = options.activation(torch.from_numpy(logits.copy()))
        if not isinstance(scores, torch.Tensor) or scores.numel() != logits.size:
            found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores)
            raise InputTypeError(
                f"activation_fn gave {found} for logits of shape {logits.shape}; "
                "expected a tensor of the same shape."
            )
        scores = scores.reshape(logits.shape)
        if options.softmax and logits.shape[1] > 1:
            scores = torch.softmax(scores, dim=1)
        result: NDArray[np.float32] = scores.float().cpu().numpy()
    return result


def _refuse_nan(values: NDArray[np.float32], what: str, pairs: list[Pair]) -> None:
    bad = np.isnan(values.reshape(len(pairs), -1)).any(axis=1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ScoreError(
            f"The {what} of {int(bad.sum())} of {len(pairs)} pairs is NaN, first at index {index}. "
            "Either the weights hold NaN (a training that diverged: lower the learning rate), or "
            "the precision is too narrow (use precision='float32')."
        )
