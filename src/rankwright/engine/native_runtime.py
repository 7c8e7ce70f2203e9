"""Exported models in the compiled library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.cpu import available_cores
from rankwright.engine.native import library
from rankwright.engine.native.encoder import NativeBatch, NativeEncoder, unsuitable
from rankwright.engine.native.files import NativeModel, read_native
from rankwright.engine.native.weights import LinearWeights
from rankwright.errors import ModelError

__all__ = ["NativeBackend"]

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class NativeBackend:
    """A file of `rankwright.engine.native.files` on the CPU.

    Args:
        path: The file.
        threads: Cores to use; None for all.
        precision: ``"fp32"`` or ``"int16"``, what it was exported as.

    Raises:
        ModelError: The file cannot be loaded, or the library cannot run it here.
    """

    name = "native"
    width_step = 1
    # A call cuts its batch into small pieces, and all cores take part in it.
    concurrency = 1
    token_budget = 16_384

    def __init__(self, path: Path, threads: int | None = None, precision: str = "fp32") -> None:
        reason = library.unavailable()
        if reason is not None:
            raise ModelError(f"{path} needs Rankwright's compiled library, but {reason}.")
        self.threads = threads or available_cores()
        self._model = model = read_native(path)
        encoder = model.encoder
        inner = encoder.layers[0].up.weight.shape[0]
        reason = unsuitable(encoder.words.shape[1], inner, encoder.heads, encoder.activation)
        if reason is not None:
            raise ModelError(f"{path} cannot be run: {reason}. Export the model again.")
        self._encoder = NativeEncoder(encoder)
        self.computes = "float32" if self._encoder.bits == 32 else "int16"
        names = {"input_ids", "attention_mask"}
        self.inputs = frozenset(names | ({"token_type_ids"} if model.with_types else set()))

    def __call__(self, features: Mapping[str, Ids]) -> Floats:
        """See `rankwright.engine.exported.Backend`."""
        real = features["attention_mask"].astype(bool)
        types = features["token_type_ids"][real] if self._model.with_types else None
        lengths = real.sum(1)
        ids = features["input_ids"]
        positions = _positions(ids, real, self._model.padding_offset)
        batch = NativeBatch(ids[real], positions[real], types, lengths)
        mean = self._model.mean
        states = self._encoder(batch, first_only=not mean, threads=self.threads)
        if mean:
            begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
            states = np.add.reduceat(states, begins) / lengths[:, None].astype(np.float32)
        return _head(self._model, states)


def _positions(ids: Ids, real: NDArray[np.bool_], offset: int | None) -> Ids:
    """Rows of the position embeddings, ``(B, L)``; RoBERTa passes over padding ids in texts."""
    if offset is None:
        return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    text = real & (ids != offset)
    positions: Ids = np.cumsum(text, axis=1) * text + offset
    return positions


def _head(model: NativeModel, states: Floats) -> Floats:
    x = _linear(states, model.dense)
    if model.dense_activation == "tanh":
        x = np.tanh(x)
    elif model.dense_activation == "relu":
        x = np.maximum(x, 0)
    else:
        x = _gelu(x)
    return _linear(x, model.classifier).astype(np.float32, copy=False)


def _linear(x: Floats, layer: LinearWeights) -> Floats:
    y: Floats = x @ layer.weight.T
    return y if layer.bias is None else y + layer.bias


def _gelu(x: Floats) -> Floats:
    from math import erf

    half: Floats = np.frompyfunc(erf, 1, 1)(x * np.float32(2**-0.5)).astype(np.float32)
    result: Floats = 0.5 * x * (1.0 + half)
    return result
