"""ModernBERT: norms before each residual, rotary positions, windows in most layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.attention import Heads, attend
from rankwright.engine.dropout import dropout
from rankwright.engine.families.base import PackedEncoder, Pass
from rankwright.engine.families.post_norm import norm
from rankwright.engine.ops import linear

__all__ = ["ModernBertEncoder"]


class ModernBertEncoder(PackedEncoder):
    """Packed execution of ModernBERT (Warner et al., 2024) from its transformers base model."""

    def __init__(self, base: Any) -> None:
        config = base.config
        half_window = config.sliding_window
        super().__init__(windows=(None, half_window))
        self.base = base
        self.size = config.hidden_size // config.num_attention_heads
        self.heads = {
            kind: Heads(
                config.num_attention_heads,
                self.size,
                config.attention_dropout,
                half_window if kind == "sliding_attention" else None,
            )
            for kind in set(config.layer_types)
        }

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.base.layers)

    def prepare(self, run: Pass) -> Pass:
        """Rotary tables of both kinds of layers, up to the longest pair."""
        longest = max(segment.width for segment in run.layout.segments)
        positions = torch.arange(longest, device=run.layout.source.device)[None]
        like = torch.empty(0, device=positions.device)  # float32: tables keep full precision
        tables = {}
        for kind in self.heads:
            cos, sin = self.base.rotary_emb(like, positions, kind)
            tables[kind] = (cos[0], sin[0])
        return replace(run, rotary=tables)

    def embed(self, ids: Tensor, types: Tensor | None, positions: Tensor, run: Pass) -> Tensor:
        """Token embeddings, normalised; positions come in by rotation, segments not at all."""
        e = self.base.embeddings
        return dropout(norm(e.tok_embeddings(ids), e.norm).to(run.dtype), e.drop.p, run.training)

    def layer(self, index: int, hidden: Tensor, run: Pass) -> Tensor:
        """Attention and gated feed-forward, each on the normalised input."""
        block = self.base.layers[index]
        attention, mlp = block.attn, block.mlp
        heads = self.heads[block.attention_type]
        x = hidden if index == 0 else norm(hidden, block.attn_norm)
        seen = attend(
            linear(x, (attention.Wqkv,), run.cache, run.training),
            heads,
            run.layout,
            run.masks[heads.window],
            training=run.training,
            first_only=run.trim,
            rotary=run.rotary[block.attention_type],
        )
        if run.trim:
            hidden = hidden[run.layout.first]
        seen = linear(seen, (attention.Wo,), run.cache, run.training)
        hidden = hidden + dropout(seen, getattr(attention.out_drop, "p", 0.0), run.training)
        value, gate = linear(
            norm(hidden, block.mlp_norm), (mlp.Wi,), run.cache, run.training
        ).chunk(2, dim=-1)
        inner = dropout(mlp.act(value) * gate, mlp.drop.p, run.training)
        return hidden + linear(inner, (mlp.Wo,), run.cache, run.training)

    def finish(self, hidden: Tensor, run: Pass) -> Tensor:
        """The final norm."""
        return norm(hidden, self.base.final_norm)
