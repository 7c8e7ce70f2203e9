"""Language models: the score is read off the last token of a pair.

Rows are padded on the right. A causal model never looks ahead, so what comes after a pair's last
token cannot change it, positions count from 0 as they are, and no row is masked from its start.
The scores are those that padding on the left gives, where positions are counted correctly.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankwright.engine.adapters import inner_model
from rankwright.engine.batch import PackedBatch
from rankwright.engine.mode import EvaluationMode
from rankwright.engine.padded import padded_rows
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError

__all__ = [
    "LastTokenScorer",
    "WholeRowScorer",
    "is_causal",
    "last_token_scorer",
    "reads_last_token",
]

# What comes between the product with the output matrix and the logits, by ``config.model_type``;
# for kinds of models that are not named here the whole row of logits is computed.
_PLAIN = frozenset(
    "arcee deepseek_v2 deepseek_v3 exaone4 gemma glm glm4 glm4_moe gpt2 gpt_neo gpt_neox helium "
    "hunyuan_v1_dense llama ministral ministral3 mistral mixtral nemotron olmo olmo2 olmo3 phi "
    "phi3 qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 stablelm starcoder2".split()
)
_CAPPED = frozenset(("gemma2", "gemma3_text"))
_SCALED = {"cohere": "logit_scale", "cohere2": "logit_scale", "granite": "logits_scaling"}

# Kinds of models whose keys and values of a common beginning are computed once.
_SHARING = frozenset(
    "cohere gemma gemma2 gemma3_text gpt2 granite llama mistral phi3 qwen2 qwen3".split()
)
_WORTH_SHARING = 16
"""Fewer tokens than this are not worth a pass of their own."""


def is_causal(model: Any) -> bool:
    """Whether a transformers model is a language model without a classification head."""
    name = type(inner_model(model)).__name__
    return name.endswith(("ForCausalLM", "LMHeadModel"))


def reads_last_token(model: Any) -> bool:
    """Whether a transformers model has a classification head on the last token."""
    inner = inner_model(model)
    is_classifier = type(inner).__name__.endswith("ForSequenceClassification")
    return is_classifier and isinstance(getattr(inner, "score", None), nn.Module)


class LastTokenScorer:
    """Scores with a decoder and something that reads its last hidden state.

    Args:
        model: The whole model, adapters included.
        read: ``(P, hidden)`` last states to ``(P, num_labels)`` logits, in float32.
        pass_over_padding: Whether padding tokens that end a pair's own text are passed over, as
            transformers does for classification heads.
    """

    packed = False

    def __init__(
        self, model: Any, read: Callable[[Tensor], Tensor], pass_over_padding: bool = False
    ) -> None:
        self.model = model
        self._read = read
        self._pass_over = pass_over_padding
        self._evaluating = EvaluationMode()

    def __call__(self, batch: PackedBatch, *, training: bool | None = None) -> Tensor:
        """See `Scorer`."""
        training = self.model.training if training is None else training
        device = next(self.model.parameters()).device
        ids, mask = _rows(batch)
        inner = inner_model(self.model)
        padding = inner.config.get_text_config().pad_token_id if self._pass_over else None
        last = _last(ids, mask, padding)
        shares = not (training or torch.is_grad_enabled()) and inner.config.model_type in _SHARING
        shared = _shared(ids, last) if shares else 0
        ids, last = ids.to(device), last.to(device)
        seen = None if bool(mask.all()) else mask.long().to(device)
        mode = contextlib.nullcontext() if training else self._evaluating(self.model)
        with mode:
            cache = _prefix_cache(inner, ids, shared) if shared else None
            hidden = inner.base_model(
                input_ids=ids[:, shared:],
                attention_mask=seen,
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
        states = hidden[torch.arange(len(last), device=device), last - shared]
        with torch.autocast(device.type, enabled=False):
            return self._read(states).float()


class WholeRowScorer:
    """Two tokens' logits out of the model's own forward pass, for any causal language model.

    Rows are padded on the left, so that only the logits of the last position are asked for.
    """

    packed = False

    def __init__(self, model: Any, tokens: TwoTokens) -> None:
        self.model = model
        self._tokens = tokens
        self._known = set(inspect.signature(inner_model(model).forward).parameters)
        self._evaluating = EvaluationMode()

    def __call__(self, batch: PackedBatch, *, training: bool | None = None) -> Tensor:
        """See `Scorer`."""
        training = self.model.training if training is None else training
        device = next(self.model.parameters()).device
        ids, mask = _rows(batch, left=True)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        offered = {"position_ids": positions.to(device), "logits_to_keep": 1, "use_cache": False}
        mode = contextlib.nullcontext() if training else self._evaluating(self.model)
        with mode:
            logits: Tensor = self.model(
                input_ids=ids.to(device),
                attention_mask=mask.long().to(device),
                **{name: value for name, value in offered.items() if name in self._known},
            ).logits
        return _difference(logits[:, -1, self._tokens.ids].float())


def last_token_scorer(
    model: Any, tokens: TwoTokens | None = None, whole: bool = False
) -> LastTokenScorer | WholeRowScorer | None:
    """The scorer of a language model; None for any other kind of model.

    Args:
        model: A transformers model, with or without adapters.
        tokens: What a model without a classification head is scored by.
        whole: Whether the model must run as a whole, because of its adapters.

    Raises:
        InputError: Such a model without ``tokens``, or ids that its vocabulary does not have.
    """
    inner = inner_model(model)
    if is_causal(inner):
        if tokens is None:
            raise InputError(
                f"{type(inner).__name__} has no classification head, and nothing says which two "
                "tokens to score by. Load it with CrossEncoder(path, logit_score=LogitScore())."
            )
        head = inner.get_output_embeddings()
        size = int(inner.get_input_embeddings().weight.shape[0])
        if max(tokens.ids) >= size or min(tokens.ids) < 0:
            raise InputError(f"The token ids {tokens.ids} are not all among the model's {size}.")
        kind = inner.config.model_type
        if whole or head is None or kind not in _PLAIN | _CAPPED | _SCALED.keys():
            return WholeRowScorer(model, tokens)
        return LastTokenScorer(model, _TwoRows(head, tokens, inner.config))
    if whole or not reads_last_token(inner):
        return None
    return LastTokenScorer(model, _ScoreHead(inner.score), pass_over_padding=True)


@dataclass(frozen=True)
class _ScoreHead:
    layer: nn.Module

    def __call__(self, states: Tensor) -> Tensor:
        dtype = next(self.layer.parameters()).dtype
        logits: Tensor = self.layer(states.to(dtype))
        return logits


@dataclass(frozen=True)
class _TwoRows:
    """Computes two of the output matrix's products instead of one per word of the vocabulary."""

    head: nn.Module
    tokens: TwoTokens
    config: Any

    def __call__(self, states: Tensor) -> Tensor:
        rows = self.tokens.ids
        if type(self.head) is nn.Linear:  # not so where an adapter has replaced it
            weight, bias = self.head.weight[rows], self.head.bias
            chosen = None if bias is None else bias[rows].float()
            logits = nn.functional.linear(states.float(), weight.float(), chosen)
        else:
            dtype = next(self.head.parameters()).dtype
            logits = self.head(states.to(dtype))[:, rows].float()
        kind = self.config.model_type
        cap = getattr(self.config, "final_logit_softcapping", None) if kind in _CAPPED else None
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        if kind in _SCALED:
            scale = getattr(self.config, _SCALED[kind])
            logits = logits / scale if kind == "granite" else logits * scale
        return _difference(logits)


def _difference(logits: Tensor) -> Tensor:
    """``(P, 2)`` logits to ``(P, 1)`` log-odds; ``(P, 1)`` logits stay."""
    return logits[:, :1] - logits[:, 1:] if logits.shape[1] == 2 else logits


def _rows(batch: PackedBatch, left: bool = False) -> tuple[Tensor, Tensor]:
    """Ids and mask, ``(P, longest)`` each, on the CPU."""
    lengths = batch.lengths
    longest = int(lengths.max())
    if int(lengths.min()) < 1:
        raise InputError(
            "A pair has no tokens at all: an empty query with an empty document. Leave it out."
        )
    places = torch.arange(longest)
    mask = places >= longest - lengths[:, None] if left else places < lengths[:, None]
    return padded_rows(batch.input_ids, mask, 0), mask


def _shared(ids: Tensor, last: Tensor) -> int:
    """How many tokens all rows begin with, all before any row's last one; 0 for too few."""
    same = (ids[:, : int(last.min())] == ids[:1, : int(last.min())]).all(0)
    count = int(same.long().cumprod(0).sum())
    return count if len(ids) > 1 and count >= _WORTH_SHARING else 0


def _prefix_cache(inner: Any, ids: Tensor, count: int) -> Any:
    """Keys and values of the first ``count`` tokens, for every row.

    The prompt, and often the query, are the same for all pairs of a batch, and a causal model
    reads them without knowing what follows.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=inner.base_model.config)
    inner.base_model(input_ids=ids[:1, :count], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(ids))
    return cache


def _last(ids: Tensor, mask: Tensor, pad_id: int | None) -> Tensor:
    """``(P,)`` position of each row's last token, or of the last that is no padding token."""
    real = mask if pad_id is None else mask & (ids != pad_id)
    return (torch.arange(ids.shape[1]) * real).argmax(1)
