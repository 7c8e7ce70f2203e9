"""Encoders that normalise after each residual: BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.engine.attention import Heads, attend
from rankwright.engine.compiled_training import (
    add_norm_compiled,
    adds_compiled,
    attends_compiled,
)
from rankwright.engine.dropout import dropout
from rankwright.engine.families.base import PackedEncoder, Pass
from rankwright.engine.layout import Fit
from rankwright.engine.ops import activated, linear

__all__ = ["PostNormEncoder", "bert_like", "distilbert", "norm"]


@dataclass(frozen=True)
class Block:
    """The modules of one layer, under the names of Vaswani et al. (2017)."""

    qkv: tuple[nn.Module, nn.Module, nn.Module]
    out: nn.Module
    out_norm: nn.LayerNorm
    up: nn.Module
    activation: Callable[[Tensor], Tensor]
    down: nn.Module
    down_norm: nn.LayerNorm
    heads: Heads
    out_dropout: float
    down_dropout: float


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    """Layer normalisation in x's type; mean and variance are taken in float32 inside."""
    weight = layer.weight.to(x.dtype)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)


def _add_norm(x: Tensor, y: Tensor, p: float, layer: nn.LayerNorm, training: bool) -> Tensor:
    """``norm(x + dropout(y))``."""
    if training and adds_compiled(x, p, layer):
        return add_norm_compiled(x, y, p, layer)
    return norm(x + dropout(y, p, training), layer)


class PostNormEncoder(PackedEncoder):
    """Packed execution of a post-norm encoder.

    Args:
        embeddings: transformers' embeddings module.
        blocks: The layers.
        project: ELECTRA's projection from embedding size to hidden size, or None.
        padding_offset: RoBERTa's padding id, from which its positions are counted; else None.
    """

    def __init__(
        self,
        embeddings: Any,
        blocks: list[Block],
        project: nn.Module | None = None,
        padding_offset: int | None = None,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.blocks = blocks
        self.project = project
        self.padding_offset = padding_offset

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.blocks)

    def positions(self, ids: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """RoBERTa counts from its padding id + 1 and passes over padding ids inside a text."""
        if self.padding_offset is None:
            return positions
        is_text = ids != self.padding_offset
        if bool(is_text.all()):
            return positions + (self.padding_offset + 1)
        counted = is_text.cumsum(0)
        start = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)[:-1])).to(ids.device)
        before = (counted - is_text.long())[start]
        counted = counted - before.repeat_interleave(lengths.to(ids.device))
        return counted * is_text + self.padding_offset

    def fit(self, device: torch.device, dtype: torch.dtype, training: bool) -> Fit:
        """Where attention is compiled, no pair is padded."""
        if training and all(
            attends_compiled(dtype, device, b.heads.trained(first_only=False)) for b in self.blocks
        ):
            return Fit(tight=0)
        return super().fit(device, dtype, training)

    def embed(self, ids: Tensor, types: Tensor | None, positions: Tensor, run: Pass) -> Tensor:
        """Word + position (+ segment) embeddings, normalised, dropped, projected."""
        e = self.embeddings
        x = e.word_embeddings(ids) + e.position_embeddings(positions)
        segments = getattr(e, "token_type_embeddings", None)
        if segments is not None:
            # Called rather than indexed, so that an adapter on it counts.
            x = x + segments(ids.new_zeros(1) if types is None else types)
        x = dropout(norm(x, e.LayerNorm).to(run.dtype), e.dropout.p, run.training)
        return x if self.project is None else linear(x, (self.project,), run.cache, run.training)

    def layer(self, index: int, hidden: Tensor, run: Pass) -> Tensor:
        """Attention, then feed-forward, each with its residual and norm."""
        b = self.blocks[index]
        qkv = linear(hidden, b.qkv, run.cache, run.training)
        seen = attend(
            qkv,
            b.heads,
            run.layout,
            run.masks[None],
            training=run.training,
            first_only=run.trim,
        )
        if run.trim:
            hidden = hidden[run.layout.first]
        seen = linear(seen, (b.out,), run.cache, run.training)
        hidden = _add_norm(hidden, seen, b.out_dropout, b.out_norm, run.training)
        inner = activated(hidden, b.up, b.activation, run.cache, run.training)
        inner = linear(inner, (b.down,), run.cache, run.training)
        return _add_norm(hidden, inner, b.down_dropout, b.down_norm, run.training)


def bert_like(base: Any) -> PostNormEncoder:
    """BERT, RoBERTa, XLM-RoBERTa or ELECTRA from its transformers base model."""
    blocks = []
    for layer in base.encoder.layer:
        attention = layer.attention.self
        heads = Heads(
            attention.num_attention_heads, attention.attention_head_size, attention.dropout.p
        )
        blocks.append(
            Block(
                qkv=(attention.query, attention.key, attention.value),
                out=layer.attention.output.dense,
                out_norm=layer.attention.output.LayerNorm,
                up=layer.intermediate.dense,
                activation=layer.intermediate.intermediate_act_fn,
                down=layer.output.dense,
                down_norm=layer.output.LayerNorm,
                heads=heads,
                out_dropout=layer.attention.output.dropout.p,
                down_dropout=layer.output.dropout.p,
            )
        )
    return PostNormEncoder(
        base.embeddings,
        blocks,
        project=getattr(base, "embeddings_project", None),
        padding_offset=getattr(base.embeddings, "padding_idx", None),
    )


def distilbert(base: Any) -> PostNormEncoder:
    """DistilBERT from its transformers base model."""
    blocks = [
        Block(
            qkv=(layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin),
            out=layer.attention.out_lin,
            out_norm=layer.sa_layer_norm,
            up=layer.ffn.lin1,
            activation=layer.ffn.activation,
            down=layer.ffn.lin2,
            down_norm=layer.output_layer_norm,
            heads=Heads(
                layer.attention.n_heads,
                layer.attention.attention_head_size,
                layer.attention.dropout.p,
            ),
            out_dropout=0.0,  # DistilBERT has none between attention and the residual
            down_dropout=layer.ffn.dropout.p,
        )
        for layer in base.transformer.layer
    ]
    return PostNormEncoder(base.embeddings, blocks)
