"""Pairs to scores: what `CrossEncoder.predict` and `CrossEncoder.rank` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankwright.engine.mode import EvaluationMode
from rankwright.engine.prompted import TemplateTokenizer
from rankwright.engine.scorers import Scorer
from rankwright.engine.scoring import ScoreOptions, score_stream
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputTypeError
from rankwright.model.activations import Activation
from rankwright.model.pairs import Pair
from rankwright.model.scored import (
    Computed,
    ScoredPairs,
    ScoringJob,
    compute_logits,
    finish_distinct,
)

__all__ = ["Parts", "PredictOptions", "ScoredPairs", "compute_pairs", "score_pairs"]


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
    tokenizer: PairTokenizer | TemplateTokenizer
    scorer: Scorer
    evaluation_mode: EvaluationMode


def score_pairs(
    pairs: list[Pair],
    num_labels: int,
    options: PredictOptions,
    compute: Callable[[list[Pair]], Computed],
) -> ScoredPairs:
    """Scores every pair; equal pairs are computed once and get the very same score.

    Args:
        pairs: P pairs, without the prompt.
        num_labels: Outputs per pair.
        options: How this call scores.
        compute: Gives the logits of distinct pairs: `compute_pairs`, here or elsewhere.

    Raises:
        ScoreError: The model gave NaN.
        InputTypeError: The activation does not give one row of scores per pair.
    """
    job = ScoringJob(num_labels, options.max_length)
    return finish_distinct(pairs, job, compute, lambda logits: _activated(logits, options))


def compute_pairs(parts: Parts, pairs: list[Pair], options: PredictOptions) -> Computed:
    """Logits of at least one pair, with this process's model."""

    def run(pieces: Iterator[TokenizedPairs], total: int) -> NDArray[np.float32]:
        # A packed scorer leaves the model's flags alone.
        evaluating = nullcontext() if parts.scorer.packed else parts.evaluation_mode(parts.module)
        with evaluating:
            return score_stream(parts.scorer, pieces, total, options.engine)

    prompted = [(options.prompt + query, document) for query, document in pairs]
    return compute_logits(prompted, parts.tokenizer, options.max_length, run)


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
