"""Rerankers as modules written to be exported: padded, traceable, and no more work than needed.

They compute what `rankwright.engine.families` computes, on rows of equal width with a mask. The
last layer works on the first token only wherever the head reads nothing else; queries, keys and
values are one product, whose queries are scaled beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rankwright.engine.encoders import packed_encoder
from rankwright.engine.families.modernbert import ModernBertEncoder
from rankwright.engine.families.post_norm import Block, PostNormEncoder
from rankwright.engine.heads import HEADS, Head

__all__ = ["HIDDEN", "build_graph"]

HIDDEN = -1e9
"""Added to attention scores of padding; finite in every float type but float16."""


def build_graph(model: Any, with_types: bool) -> nn.Module:
    """A module ``(input_ids, attention_mask[, token_type_ids]) -> (B, num_labels) logits``.

    Architectures that are not known here are exported as transformers computes them.

    Args:
        model: A transformers model with a sequence-classification head, in evaluation mode.
        with_types: Whether ``token_type_ids`` are an input.
    """
    head = HEADS.get(model.config.model_type)
    named = type(model).__name__.endswith("ForSequenceClassification")
    encoder = packed_encoder(model.base_model) if head is not None and named else None
    mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
    if head is not None and isinstance(encoder, PostNormEncoder) and _plain(encoder):
        return PostNormGraph(model, encoder, head, mean).eval()
    if head is not None and isinstance(encoder, ModernBertEncoder):
        return ModernBertGraph(model, encoder, head, mean).eval()
    return (PlainTypesGraph(model) if with_types else PlainGraph(model)).eval()


def _plain(encoder: PostNormEncoder) -> bool:
    """Whether no product is more than a product, as with adapters."""
    layers = [x for b in encoder.blocks for x in (*b.qkv, b.out, b.up, b.down)]
    return all(type(layer) is nn.Linear for layer in layers)


class PlainGraph(nn.Module):
    """A model as transformers computes it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """``(B, L)`` ids and mask to ``(B, num_labels)`` logits."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


class PlainTypesGraph(PlainGraph):
    """The same with segments."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor:
        """``(B, L)`` ids, mask and segments to ``(B, num_labels)`` logits."""
        logits: Tensor = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).logits
        return logits


class _Products(nn.Module):
    """Queries, keys and values of one layer as one product, or as two where one token asks."""

    def __init__(self, weight: Tensor, bias: Tensor | None, scale: float, first_only: bool) -> None:
        super().__init__()
        hidden = weight.shape[0] // 3
        factor = torch.ones(3 * hidden, 1, dtype=weight.dtype)
        factor[:hidden] = scale
        weight = weight.detach() * factor
        bias = None if bias is None else bias.detach() * factor[:, 0]
        self.first_only = first_only
        if first_only:
            self.query = _linear(weight[:hidden], None if bias is None else bias[:hidden])
            self.key_value = _linear(weight[hidden:], None if bias is None else bias[hidden:])
        else:
            self.qkv = _linear(weight, bias)

    def forward(self, x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, L, hidden)`` to queries ``(B, H, L or 1, D)``, keys and values ``(B, H, L, D)``."""
        if self.first_only:
            parts = (self.query(x[:, :1]), *self.key_value(x).chunk(2, dim=-1))
        else:
            parts = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        return q, k, v


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention with an additive mask; queries are scaled already."""
    weights = (q @ k.transpose(-1, -2) + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _padding_mask(attention_mask: Tensor) -> Tensor:
    """``(B, 1, 1, L)`` of 0 and `HIDDEN`."""
    return (1.0 - attention_mask[:, None, None, :].float()) * HIDDEN


def _pooled(hidden: Tensor, attention_mask: Tensor, mean: bool) -> Tensor:
    if not mean:
        return hidden[:, 0]
    real = attention_mask[..., None].to(hidden.dtype)
    return (hidden * real).sum(1) / real.sum(1)


class _PostNormLayer(nn.Module):
    """One layer of `rankwright.engine.families.post_norm`."""

    def __init__(self, block: Block, first_only: bool) -> None:
        super().__init__()
        linears: Any = block.qkv
        weight = torch.cat([linear.weight for linear in linears])
        bias = torch.cat([linear.bias for linear in linears])
        self.attention = _Products(weight, bias, block.heads.size**-0.5, first_only)
        self.heads = block.heads.count
        self.first_only = first_only
        self.out, self.out_norm = block.out, block.out_norm
        self.up, self.activation, self.down = block.up, block.activation, block.down
        self.down_norm = block.down_norm

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.attention(x, self.heads)
        seen = self.out(_attend(q, k, v, mask))
        x = self.out_norm((x[:, :1] if self.first_only else x) + seen)
        inner = self.down(self.activation(self.up(x)))
        result: Tensor = self.down_norm(x + inner)
        return result


class PostNormGraph(nn.Module):
    """BERT, RoBERTa, XLM-RoBERTa, ELECTRA and DistilBERT."""

    def __init__(self, model: Any, encoder: PostNormEncoder, head: Head, mean: bool) -> None:
        super().__init__()
        self.model = model
        self.embeddings = encoder.embeddings
        self.project = encoder.project
        self.padding_offset = encoder.padding_offset
        self.head, self.mean = head, mean
        last = len(encoder.blocks) - 1
        self.layers = nn.ModuleList(
            _PostNormLayer(block, first_only=i == last and not mean)
            for i, block in enumerate(encoder.blocks)
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """``(B, L)`` ids, mask and segments to ``(B, num_labels)`` logits."""
        e = self.embeddings
        if self.padding_offset is None:
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        else:
            text = (input_ids != self.padding_offset).long()
            positions = text.cumsum(1) * text + self.padding_offset
        x = e.word_embeddings(input_ids) + e.position_embeddings(positions)
        segments = getattr(e, "token_type_embeddings", None)
        if segments is not None:
            x = x + (segments.weight[0] if token_type_ids is None else segments(token_type_ids))
        x = e.LayerNorm(x)
        if self.project is not None:
            x = self.project(x)
        mask = _padding_mask(attention_mask)
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.model, _pooled(x, attention_mask, self.mean), False)


class _ModernBertLayer(nn.Module):
    """One layer of `rankwright.engine.families.modernbert`."""

    def __init__(self, block: Any, encoder: ModernBertEncoder, first: bool, last: bool) -> None:
        super().__init__()
        self.kind = block.attention_type
        heads = encoder.heads[self.kind]
        self.heads, self.first_only = heads.count, last
        self.attn_norm = nn.Identity() if first else block.attn_norm
        wqkv = block.attn.Wqkv
        self.attention = _Products(wqkv.weight, wqkv.bias, heads.size**-0.5, last)
        self.out = block.attn.Wo
        self.mlp_norm, self.mlp = block.mlp_norm, block.mlp

    def forward(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = self.attention(self.attn_norm(x), self.heads)
        asking = slice(0, 1) if self.first_only else slice(None)
        q = _rotate(q, cos[asking], sin[asking])
        seen = self.out(_attend(q, _rotate(k, cos, sin), v, mask[:, :, asking]))
        x = x[:, asking] + seen
        value, gate = self.mlp.Wi(self.mlp_norm(x)).chunk(2, dim=-1)
        result: Tensor = x + self.mlp.Wo(self.mlp.act(value) * gate)
        return result


class ModernBertGraph(nn.Module):
    """ModernBERT."""

    def __init__(self, model: Any, encoder: ModernBertEncoder, head: Head, mean: bool) -> None:
        super().__init__()
        self.model = model
        self.base: Any = encoder.base
        self.windows = {kind: heads.window for kind, heads in encoder.heads.items()}
        self.head, self.mean = head, mean
        last = encoder.num_layers - 1
        self.layers = nn.ModuleList(
            _ModernBertLayer(block, encoder, first=i == 0, last=i == last and not mean)
            for i, block in enumerate(encoder.base.layers)
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """``(B, L)`` ids and mask to ``(B, num_labels)`` logits; segments are not looked at."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        distance = (positions[:, None] - positions).abs()
        padding = _padding_mask(attention_mask)
        masks, tables = {}, {}
        for kind, window in self.windows.items():
            # Hidden for two reasons is hidden all the same.
            far = None if window is None else (distance > window).float() * HIDDEN
            masks[kind] = padding if far is None else padding + far
            tables[kind] = self._rotary(positions, kind)
        x = self.base.embeddings.norm(self.base.embeddings.tok_embeddings(input_ids))
        for layer in self.layers:
            x = layer(x, masks[layer.kind], *tables[layer.kind])
        x = self.base.final_norm(x)
        return self.head(self.model, _pooled(x, attention_mask, self.mean), False)

    def _rotary(self, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        rotary = self.base.rotary_emb
        angles = positions[:, None].float() * getattr(rotary, f"{kind}_inv_freq")
        scaling = getattr(rotary, f"{kind}_attention_scaling")
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos() * scaling, angles.sin() * scaling


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) of ``(B, H, L, D)``."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin
