"""Encoders of PyTorch models in the compiled library: what they compute without gradients.

On processors whose widest vectors are AVX2's it is faster than PyTorch's own operations, and gives
the same scores but for rounding. In 16-bit integers (``precision="int16"``) it is faster still, and
closer to float32 than bfloat16 is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rankwright.engine.batch import PackedBatch
from rankwright.engine.compiled_training import COMPILED_ACTIVATIONS
from rankwright.engine.families.base import PackedEncoder
from rankwright.engine.families.post_norm import Block, PostNormEncoder
from rankwright.engine.native import library
from rankwright.engine.native.choice import wanted_bits
from rankwright.engine.native.encoder import NativeBatch, NativeEncoder, unsuitable
from rankwright.engine.native.weights import (
    EncoderWeights,
    LayerWeights,
    LinearWeights,
    NormWeights,
    quantised,
)
from rankwright.engine.ops import is_plain
from rankwright.engine.prepacked import fused_activation
from rankwright.errors import InputError

__all__ = [
    "compiled_states",
    "encoder_weights",
    "linear_weights",
    "reason_against",
    "require_compiled",
    "runs_compiled",
]


def reason_against(encoder: PackedEncoder | None) -> str | None:
    """Why the library cannot run this encoder; None if it can."""
    if not isinstance(encoder, PostNormEncoder):
        return "it runs BERT and its relatives only"
    if encoder.project is not None:
        return "its embeddings are projected"
    embeddings = encoder.embeddings
    tables = [embeddings.word_embeddings, embeddings.position_embeddings]
    if getattr(embeddings, "token_type_embeddings", None) is not None:
        tables.append(embeddings.token_type_embeddings)
    linears = [layer for b in encoder.blocks for layer in (*b.qkv, b.out, b.up, b.down)]
    norms = [embeddings.LayerNorm, *(n for b in encoder.blocks for n in (b.out_norm, b.down_norm))]
    if not (
        all(type(t) is nn.Embedding and t.max_norm is None and not _hooked(t) for t in tables)
        and all(is_plain(layer) for layer in linears)
        and all(type(norm) is nn.LayerNorm for norm in norms)
    ):
        return "its layers have adapters or hooks, or are of a kind of their own"
    if any(
        type(p) is not nn.Parameter or p.dtype != torch.float32 or p.device.type != "cpu"
        for module in (*tables, *linears, *norms)
        for p in module.parameters()
    ):
        return "its weights are not float32 on the CPU"
    block = encoder.blocks[0]
    activation = _activation(block)
    if any(_activation(b) != activation for b in encoder.blocks):
        return "its layers have several activations"
    hidden, inner = embeddings.word_embeddings.embedding_dim, len(block.up.weight)  # type: ignore[arg-type]
    if block.heads.count * block.heads.size != hidden:
        return "its heads are not as wide as its states"
    return unsuitable(hidden, inner, block.heads.count, activation)


def runs_compiled(encoder: PackedEncoder | None) -> bool:
    """Whether `compiled_states` would answer now, without gradients."""
    return bool(wanted_bits()) and reason_against(encoder) is None


def require_compiled(precision: str, encoder: PackedEncoder | None) -> None:
    """Refuses ``precision="int16"`` for an encoder that cannot have it here.

    Raises:
        InputError: It cannot.
    """
    if precision != "int16":
        return
    reason = library.unavailable()
    if reason is not None:
        reason = f"the compiled library cannot be used: {reason}"
    else:
        reason = reason_against(encoder)
        reason = reason and f"the compiled library cannot run this model: {reason}"
    if reason is not None:
        raise InputError(
            f"precision='int16' is not possible here, because {reason}. Use 'float32', or 'auto', "
            "which takes what is fastest here."
        )


def compiled_states(
    encoder: PackedEncoder, batch: PackedBatch, *, first_only: bool
) -> Tensor | None:
    """Last hidden states in float32, without dropout and gradients; None if PyTorch must do it.

    Returns:
        ``(P, hidden)`` states of first tokens with ``first_only``, else ``(T, hidden)`` of all, in
        the batch's order.
    """
    if torch.is_grad_enabled() or not runs_compiled(encoder):
        return None
    assert isinstance(encoder, PostNormEncoder)
    positions = encoder.positions(batch.input_ids, batch.position_ids, batch.lengths)
    types = None if batch.token_type_ids is None else batch.token_type_ids.numpy()
    described = NativeBatch(
        batch.input_ids.numpy(), positions.numpy(), types, batch.lengths.numpy()
    )
    compiled = _compiled(encoder, wanted_bits())
    states = compiled(described, first_only=first_only, threads=torch.get_num_threads())
    return torch.from_numpy(states)


def _compiled(encoder: PostNormEncoder, bits: int) -> NativeEncoder:
    """The encoder in the library, made again when its weights change."""
    modules = [encoder.embeddings, *(m for b in encoder.blocks for m in _modules(b))]
    parameters = [p for module in modules for p in module.parameters()]
    # One key for all: of layers that were exchanged for others nothing is kept.
    key, form = ("compiled", id(encoder.embeddings)), (bits, *map(id, modules))

    def make() -> NativeEncoder:
        return NativeEncoder(encoder_weights(encoder, bits))

    return encoder.cache.made(key, encoder.embeddings, parameters, make, form)


def encoder_weights(encoder: PostNormEncoder, bits: int) -> EncoderWeights:
    """Weights of an encoder that has no `reason_against` it; embeddings and norms are not copied.

    Args:
        encoder: The encoder.
        bits: 32 for float32, 16 for integers.
    """
    linear: Callable[..., LinearWeights] = linear_weights if bits == 32 else _integer_linear
    embeddings = encoder.embeddings
    segments = getattr(embeddings, "token_type_embeddings", None)
    return EncoderWeights(
        words=_array(embeddings.word_embeddings.weight),
        places=_array(embeddings.position_embeddings.weight),
        types=None if segments is None else _array(segments.weight),
        norm=_norm(embeddings.LayerNorm),
        layers=tuple(
            LayerWeights(
                linear(*b.qkv),
                linear(b.out),
                linear(b.up),
                linear(b.down),
                _norm(b.out_norm),
                _norm(b.down_norm),
            )
            for b in encoder.blocks
        ),
        heads=encoder.blocks[0].heads.count,
        activation=_activation(encoder.blocks[0]),
    )


def _modules(block: Block) -> tuple[nn.Module, ...]:
    return (*block.qkv, block.out, block.up, block.down, block.out_norm, block.down_norm)


def _activation(block: Block) -> str:
    fused = fused_activation(block.activation)
    known = COMPILED_ACTIVATIONS.get(fused)
    return known or type(block.activation).__name__


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def linear_weights(*layers: Any) -> LinearWeights:
    """Linear layers of the same inputs side by side, in float32."""
    weights = [_array(layer.weight) for layer in layers]
    biases = [
        np.zeros(layer.out_features, np.float32) if layer.bias is None else _array(layer.bias)
        for layer in layers
    ]
    return LinearWeights(np.concatenate(weights), np.concatenate(biases))


def _integer_linear(*layers: Any) -> LinearWeights:
    return quantised(linear_weights(*layers))


def _norm(norm: nn.LayerNorm) -> NormWeights:
    bias = None if norm.bias is None else _array(norm.bias)
    return NormWeights(_array(norm.weight), bias, norm.eps)
