"""Weights as the compiled library reads them.

A 16-bit weight is ``scale * integer``, with a scale for every output. Inputs get a scale for every
token when they come; their integers reach up to 16383. Products are summed in 32 bits, so an
output's scale is the least for which ``16383 * sum(abs(integers))`` fits: no sum can overflow,
whatever the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "LARGEST_INPUT",
    "EncoderWeights",
    "LayerWeights",
    "LinearWeights",
    "NormWeights",
    "panels",
    "quantised",
]

Floats = NDArray[np.float32]

COLUMNS = 16
"""Outputs in a panel."""
LARGEST_INPUT = 16383
"""The largest integer of an input."""


@dataclass(frozen=True)
class LinearWeights:
    """A linear layer.

    Attributes:
        weight: ``(outputs, inputs)`` float32, or int16 with ``scales``.
        bias: ``(outputs,)`` float32, or None.
        scales: ``(outputs,)`` float32, what an integer of ``weight`` is worth; None for float32.
    """

    weight: NDArray[np.float32] | NDArray[np.int16]
    bias: Floats | None
    scales: Floats | None = None


@dataclass(frozen=True)
class NormWeights:
    """A layer normalisation: ``(width,)`` float32 each."""

    weight: Floats
    bias: Floats | None
    epsilon: float


@dataclass(frozen=True)
class LayerWeights:
    """One layer; ``qkv`` makes queries, keys and values, in that order."""

    qkv: LinearWeights
    out: LinearWeights
    up: LinearWeights
    down: LinearWeights
    out_norm: NormWeights
    down_norm: NormWeights


@dataclass(frozen=True)
class EncoderWeights:
    """A post-norm encoder.

    Attributes:
        words, places, types: Embeddings ``(count, hidden)`` float32 of tokens, positions and
            segments (None for models without segments).
        norm: Normalisation of their sum.
        layers: From the first to the last, all in float32 or all in 16 bits.
        heads: Attention heads per layer.
        activation: ``"gelu"``, ``"gelu_tanh"`` or ``"relu"``.
    """

    words: Floats
    places: Floats
    types: Floats | None
    norm: NormWeights
    layers: tuple[LayerWeights, ...]
    heads: int
    activation: str


def quantised(layer: LinearWeights) -> LinearWeights:
    """The same layer with 16-bit weights."""
    weight = np.asarray(layer.weight, np.float32)
    magnitude = np.abs(weight)
    # Rounding can make every integer larger by a half.
    room = (2**31 - 1) // LARGEST_INPUT - weight.shape[1] / 2
    total = magnitude.sum(1, dtype=np.float64)
    scales = np.maximum(total / room, magnitude.max(1) / 32767.0)
    scales = np.where(scales == 0, 1.0, scales).astype(np.float32)
    # Rounded up, where float32 cannot hold the quotient: rounded down, a sum might not fit.
    scales = np.nextafter(scales, np.float32(np.inf))
    # What is no number or infinite makes its output's scale, hence its results, no number.
    good = np.isfinite(scales)
    scales[~good] = np.nan
    integers = np.zeros(weight.shape, np.int16)
    integers[good] = np.rint(weight[good] / scales[good, None])
    return LinearWeights(integers, layer.bias, scales)


def panels(weight: NDArray[np.float32] | NDArray[np.int16]) -> NDArray[np.generic]:
    """``(outputs, inputs)`` in panels of 16 outputs, at an address that vectors can be read from.

    Outputs are a multiple of 16, inputs even.
    """
    outputs, inputs = weight.shape
    unit = 2 if weight.dtype == np.int16 else 1
    parts = weight.reshape(outputs // COLUMNS, COLUMNS, inputs // unit, unit)
    result = _aligned(weight.size, weight.dtype)
    order = parts.transpose(0, 2, 1, 3)
    result.reshape(order.shape)[...] = order
    return result


def _aligned(size: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size * dtype.itemsize].view(dtype)
