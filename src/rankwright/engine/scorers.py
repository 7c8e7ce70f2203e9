"""`Scorer`: packed pairs in, logits out."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Protocol

import torch
from torch import Tensor

from rankwright.engine.adapters import adapter_configs, inner_model, padding_reason
from rankwright.engine.batch import PackedBatch
from rankwright.engine.compiled import compiled_states
from rankwright.engine.encoders import packed_encoder
from rankwright.engine.families.base import PackedEncoder
from rankwright.engine.heads import HEADS, Head
from rankwright.engine.last_token import last_token_scorer
from rankwright.engine.mode import EvaluationMode
from rankwright.engine.padded import PaddedForward
from rankwright.engine.precision import compute_dtype
from rankwright.engine.two_tokens import TwoTokens

__all__ = ["PackedScorer", "PaddedScorer", "Scorer", "build_scorer"]

logger = logging.getLogger(__name__)


class Scorer(Protocol):
    """Scores packed pairs with a sequence-classification model.

    Obeys ``torch.autocast`` for its precision and is differentiable.
    """

    packed: bool

    def __call__(self, batch: PackedBatch, *, training: bool | None = None) -> Tensor:
        """``(P, num_labels)`` float32 logits.

        Args:
            batch: P pairs, on any device.
            training: Whether dropout is on; None follows ``model.training``. With False the
                model's own flag is left alone, so that several threads can score at once.
        """


class PackedScorer:
    """Scores without padding; the last layer computes only what the head reads."""

    packed = True

    def __init__(self, model: Any, encoder: PackedEncoder, head: Head) -> None:
        self.model = model
        self.encoder = encoder
        self._head = head
        self._mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._evaluating = EvaluationMode()

    def __call__(self, batch: PackedBatch, *, training: bool | None = None) -> Tensor:
        """See `Scorer`."""
        parameter = next(self.model.parameters())
        device = parameter.device
        training = self.model.training if training is None else training
        dtype = compute_dtype(device, parameter.dtype)
        # Adapters drop out by the flag of their own modules.
        by_flag = not training and adapter_configs(self.model)
        mode = self._evaluating(self.model) if by_flag else contextlib.nullcontext()
        with mode, torch.autocast(device.type, enabled=False):
            if not training and dtype == torch.float32 and device.type == "cpu":
                states = compiled_states(self.encoder, batch, first_only=not self._mean)
                if states is not None:
                    pooled = _means(states, batch.lengths) if self._mean else states
                    logits = self._head(self.model, pooled, training)
                    return logits.float()
            hidden, layout = self.encoder.encode(
                batch.to(device),
                dtype=dtype,
                training=training,
                first_only=not self._mean,
                checkpointing=_checkpointing(self.model),
            )
            pooled = hidden.to(parameter.dtype)
            if self._mean:
                pooled = _segment_means(pooled, layout)
            logits = self._head(self.model, pooled, training)
        return logits[layout.restore].float()


class PaddedScorer:
    """Scores by padding, for architectures without packed execution."""

    packed = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self._forward = PaddedForward(model)

    def __call__(self, batch: PackedBatch, *, training: bool | None = None) -> Tensor:
        """See `Scorer`."""
        output, _ = self._forward(batch, self.model.training if training is None else training)
        logits: Tensor = output.logits
        return logits.float()


def _checkpointing(model: Any) -> bool:
    """Whether gradient checkpointing is on, told by the flag its modules have always carried."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _segment_means(hidden: Tensor, layout: Any) -> Tensor:
    means = []
    for segment in layout.segments:
        block = hidden[segment.start : segment.stop].view(segment.rows, segment.width, -1)
        if segment.lengths is None:
            means.append(block.mean(1))
            continue
        real = torch.arange(segment.width, device=hidden.device) < segment.lengths[:, None]
        total = (block * real[..., None]).sum(1)
        means.append(total / segment.lengths[:, None].to(hidden.dtype))
    return torch.cat(means)


def _means(states: Tensor, lengths: Tensor) -> Tensor:
    return torch.stack([part.mean(0) for part in torch.split(states, lengths.tolist())])


def build_scorer(model: Any, tokens: TwoTokens | None = None) -> Scorer:
    """Packed execution for the families known here, padded execution for any other.

    Args:
        model: A transformers model with a sequence-classification head, with or without
            adapters, or a ``peft.PeftModel`` around one; or a causal language model.
        tokens: What a causal language model is scored by.

    Raises:
        InputError: A causal language model without ``tokens``.
    """
    reason = padding_reason(model)
    if reason is not None:
        logger.warning("This model runs padded, hence more slowly, because %s.", reason)
    reads_last = last_token_scorer(model, tokens, whole=reason is not None)
    if reads_last is not None:
        return reads_last
    if reason is not None:
        return PaddedScorer(model)
    model = inner_model(model)
    head = HEADS.get(model.config.model_type)
    expected = type(model).__name__.endswith("ForSequenceClassification")
    encoder = packed_encoder(model.base_model) if head is not None and expected else None
    if head is None or encoder is None:
        return PaddedScorer(model)
    return PackedScorer(model, encoder, head)
