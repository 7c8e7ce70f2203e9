"""Packed encoders by family, and token states for embedding models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.batch import PackedBatch
from rankwright.engine.compiled import compiled_states
from rankwright.engine.families.base import PackedEncoder
from rankwright.engine.families.modernbert import ModernBertEncoder
from rankwright.engine.families.post_norm import bert_like, distilbert
from rankwright.engine.padded import PaddedForward
from rankwright.engine.precision import compute_dtype

__all__ = ["TokenEncoder", "build_encoder", "packed_encoder"]

_FAMILIES: dict[str, Callable[[Any], PackedEncoder]] = {
    "bert": bert_like,
    "roberta": bert_like,
    "xlm-roberta": bert_like,
    "electra": bert_like,
    "distilbert": distilbert,
    "modernbert": ModernBertEncoder,
}


def packed_encoder(base: Any) -> PackedEncoder | None:
    """The packed execution of a transformers base model; None if its kind is not known here."""
    config = base.config
    build = _FAMILIES.get(config.model_type)
    if (
        build is None
        or getattr(config, "is_decoder", False)
        or getattr(config, "position_embedding_type", None) not in (None, "absolute")
    ):
        return None
    return build(base)


class TokenEncoder:
    """Last hidden states of an embedding model, ``(T, hidden)`` in the batch's order.

    Attributes:
        encoder: Runs it without padding; None where it is padded.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.encoder = packed_encoder(model)
        self._padded = PaddedForward(model)

    @property
    def packed(self) -> bool:
        """Whether it runs without padding."""
        return self.encoder is not None

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Float32 states ``(T, hidden)`` without dropout."""
        if self.encoder is None:
            output, mask = self._padded(batch, training=False)
            states: Tensor = output.last_hidden_state[mask]
            return states.float()
        parameter = next(self.model.parameters())
        dtype = compute_dtype(parameter.device, parameter.dtype)
        if dtype == torch.float32 and parameter.device.type == "cpu":
            compiled = compiled_states(self.encoder, batch, first_only=False)
            if compiled is not None:
                return compiled
        batch = batch.to(parameter.device)
        with torch.autocast(parameter.device.type, enabled=False):
            hidden, layout = self.encoder.encode(
                batch, dtype=dtype, training=False, first_only=False
            )
        result = torch.empty(
            batch.num_tokens, hidden.shape[-1], dtype=torch.float32, device=hidden.device
        )
        kept = slice(None) if layout.padding is None else ~layout.padding
        result[layout.source[kept]] = hidden[kept].float()
        return result


def build_encoder(model: Any) -> TokenEncoder:
    """Token states of a transformers base model (without a head), packed where it can be."""
    return TokenEncoder(model)
