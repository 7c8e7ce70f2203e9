"""An encoder that runs in the compiled library."""

from __future__ import annotations

import ctypes
from ctypes import byref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.native import library as c
from rankwright.engine.native.weights import (
    COLUMNS,
    EncoderWeights,
    LinearWeights,
    NormWeights,
    panels,
)
from rankwright.errors import InputError

__all__ = ["ACTIVATIONS", "NativeBatch", "NativeEncoder", "unsuitable"]

ACTIVATIONS = {"gelu": 0, "gelu_tanh": 1, "relu": 2}
"""The library's numbers of activations."""
_HEAD_STEP = 8

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class NativeBatch:
    """P pairs of T tokens, end to end, all int64.

    Attributes:
        ids: ``(T,)`` token ids.
        positions: ``(T,)`` rows of the position embeddings.
        types: ``(T,)`` segments; None for segment 0.
        lengths: ``(P,)`` tokens per pair, each at least 1.
    """

    ids: Ids
    positions: Ids
    types: Ids | None
    lengths: Ids


def unsuitable(hidden: int, inner: int, heads: int, activation: str) -> str | None:
    """Why the library cannot run an encoder of these sizes; None if it can."""
    if activation not in ACTIVATIONS:
        return f"its activation is {activation}"
    if hidden % COLUMNS or inner % COLUMNS:
        return f"its widths {hidden} and {inner} are not multiples of {COLUMNS}"
    if hidden % heads or hidden // heads % _HEAD_STEP:
        return f"the width of its heads is not a multiple of {_HEAD_STEP}"
    return None


class NativeEncoder:
    """Last hidden states of a post-norm encoder; several threads may call it at once.

    Args:
        weights: Of a model that is not `unsuitable`. The embeddings are used where they are, and
            must not be changed; the layers are copied.

    Raises:
        RuntimeError: The library cannot be used here; ask `rankwright.engine.native.library`.
    """

    def __init__(self, weights: EncoderWeights) -> None:
        self._library = c.library()
        self._kept: list[NDArray[np.generic]] = []
        self._sizes = (len(weights.words), len(weights.places))
        self._types = 0 if weights.types is None else len(weights.types)
        first = weights.layers[0]
        self.hidden = weights.words.shape[1]
        self.bits = 32 if first.up.scales is None else 16
        layers = (c.Layer * len(weights.layers))()
        for to, layer in zip(layers, weights.layers, strict=True):
            to.qkv, to.out = self._product(layer.qkv), self._product(layer.out)
            to.up, to.down = self._product(layer.up), self._product(layer.down)
            to.out_norm, to.down_norm = self._norm(layer.out_norm), self._norm(layer.down_norm)
        keys, values = _keys_and_values(weights.layers[-1].qkv)
        layers[-1].keys, layers[-1].values = self._floats(keys), self._floats(values)
        self._model = c.Model(
            hidden=self.hidden,
            inner=first.up.weight.shape[0],
            heads=weights.heads,
            layers=len(layers),
            activation=ACTIVATIONS[weights.activation],
            bits=self.bits,
            words=self._floats(weights.words),
            places=self._floats(weights.places),
            types=self._floats(weights.types),
            norm=self._norm(weights.norm),
            layer=layers,
        )

    def __call__(
        self, batch: NativeBatch, *, first_only: bool, threads: int
    ) -> NDArray[np.float32]:
        """``(P, hidden)`` states of first tokens, or ``(T, hidden)`` of all, in the batch's order.

        Args:
            batch: The pairs.
            first_only: Whether the last layer computes first tokens only.
            threads: At most this many compute.

        Raises:
            InputError: Ids that the embeddings do not have.
            MemoryError: There is not enough memory.
        """
        ids, positions, lengths = map(_integers, (batch.ids, batch.positions, batch.lengths))
        types = None if batch.types is None else _integers(batch.types)
        total = int(lengths.sum())
        if len(lengths) and lengths.min() < 1:
            raise InputError("A pair has no tokens at all.")
        if not len(ids) == len(positions) == total == (total if types is None else len(types)):
            raise InputError(f"The lengths add up to {total} tokens, but there are {len(ids)}.")
        _check("token id", ids, self._sizes[0])
        _check("position", positions, self._sizes[1])
        if types is not None and self._types:
            _check("segment", types, self._types)
        out = np.empty((len(lengths) if first_only else total, self.hidden), np.float32)
        described = c.Batch(
            pairs=len(lengths),
            lengths=lengths.ctypes.data,
            ids=ids.ctypes.data,
            positions=positions.ctypes.data,
            types=None if types is None else types.ctypes.data,
            first_only=first_only,
            threads=threads,
        )
        if self._library.rw_encode(byref(self._model), byref(described), out.ctypes.data):
            raise MemoryError(f"Not enough memory to encode pairs of up to {lengths.max()} tokens.")
        return out

    def _floats(self, array: NDArray[np.float32] | None) -> int | None:
        if array is None:
            return None
        kept = np.ascontiguousarray(array, np.float32)
        self._kept.append(kept)
        return kept.ctypes.data

    def _product(self, layer: LinearWeights) -> ctypes.Structure:
        laid_out = panels(layer.weight)
        self._kept.append(laid_out)
        return c.Product(
            panels=laid_out.ctypes.data,
            scales=self._floats(layer.scales),
            bias=self._floats(layer.bias),
            inputs=layer.weight.shape[1],
            outputs=layer.weight.shape[0],
        )

    def _norm(self, norm: NormWeights) -> ctypes.Structure:
        return c.Norm(
            weight=self._floats(norm.weight), bias=self._floats(norm.bias), epsilon=norm.epsilon
        )


def _keys_and_values(qkv: LinearWeights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weights of both in float32, for the last layer's first tokens."""
    _, keys, values = np.split(qkv.weight.astype(np.float32), 3)
    if qkv.scales is not None:
        _, key_scales, value_scales = np.split(qkv.scales[:, None], 3)
        keys, values = keys * key_scales, values * value_scales
    if qkv.bias is not None:
        # A bias of keys makes no difference there, but what is no number must stay so.
        _, bias, _ = np.split(qkv.bias, 3)
        keys = np.where(np.isfinite(bias)[:, None], keys, np.float32(np.nan))
    return keys, values


def _integers(array: Ids) -> Ids:
    return np.ascontiguousarray(array, np.int64)


def _check(what: str, values: Ids, count: int) -> None:
    """Memory beyond a table must never be read."""
    if len(values) and not 0 <= values.min() <= values.max() < count:
        worst = int(values.max()) if values.max() >= count else int(values.min())
        raise InputError(f"The {what} {worst} is not among the model's {count}.")
