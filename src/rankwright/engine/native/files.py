"""An exported encoder with its head in one safetensors file.

Weights have the names of `EncoderWeights`; the file's metadata tell what is no tensor. Integers lie
there as ``(outputs, inputs)``, so that the library's layout may change without new files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.native.weights import (
    EncoderWeights,
    LayerWeights,
    LinearWeights,
    NormWeights,
)
from rankwright.errors import ModelError

__all__ = ["HEAD_ACTIVATIONS", "NativeModel", "read_native", "write_native"]

FORMAT = "rankwright-encoder"
VERSION = "1"
HEAD_ACTIVATIONS = ("tanh", "gelu", "relu")
_LINEARS = ("qkv", "out", "up", "down")
_NORMS = ("out_norm", "down_norm")


@dataclass(frozen=True)
class NativeModel:
    """A reranker.

    Attributes:
        encoder: Its encoder.
        dense: The head's first layer, in float32.
        dense_activation: What follows it: one of `HEAD_ACTIVATIONS`.
        classifier: The head's last layer, ``num_labels`` outputs.
        mean: Whether the head reads the mean of all tokens instead of the first one.
        with_types: Whether pairs have segments.
        padding_offset: Padding id that positions are counted from, as in RoBERTa; None from 0.
    """

    encoder: EncoderWeights
    dense: LinearWeights
    dense_activation: str
    classifier: LinearWeights
    mean: bool
    with_types: bool
    padding_offset: int | None


def write_native(path: Path, model: NativeModel) -> None:
    """Writes the file; its folder must exist."""
    from safetensors.numpy import save_file

    encoder = model.encoder
    tensors: dict[str, NDArray[Any]] = {"words": encoder.words, "places": encoder.places}
    if encoder.types is not None:
        tensors["types"] = encoder.types
    _put_norm(tensors, "norm", encoder.norm)
    for index, layer in enumerate(encoder.layers):
        for name in _LINEARS:
            _put_linear(tensors, f"layers.{index}.{name}", getattr(layer, name))
        for name in _NORMS:
            _put_norm(tensors, f"layers.{index}.{name}", getattr(layer, name))
    _put_linear(tensors, "dense", model.dense)
    _put_linear(tensors, "classifier", model.classifier)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "layers": str(len(encoder.layers)),
        "heads": str(encoder.heads),
        "activation": encoder.activation,
        "dense_activation": model.dense_activation,
        "epsilon": repr(encoder.norm.epsilon),
        "mean": str(int(model.mean)),
        "with_types": str(int(model.with_types)),
        "padding_offset": "" if model.padding_offset is None else str(model.padding_offset),
    }
    save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, path, metadata)


def read_native(path: Path) -> NativeModel:
    """Reads what `write_native` wrote.

    Raises:
        ModelError: The file is damaged, or is something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            if (about.get("format"), about.get("version")) != (FORMAT, VERSION):
                raise ValueError(
                    f"its format is {about.get('format')!r}, version {about.get('version')!r}; "
                    f"expected {FORMAT!r}, version {VERSION!r}"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _model(tensors, about)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        raise ModelError(
            f"{path} cannot be loaded: {reason}. The file is damaged, or was made by another "
            "release: export the model again."
        ) from error


def _model(tensors: dict[str, NDArray[Any]], about: dict[str, str]) -> NativeModel:
    epsilon = float(about["epsilon"])
    layers = tuple(
        LayerWeights(
            **{name: _linear(tensors, f"layers.{index}.{name}") for name in _LINEARS},  # type: ignore[arg-type]
            **{name: _norm(tensors, f"layers.{index}.{name}", epsilon) for name in _NORMS},  # type: ignore[arg-type]
        )
        for index in range(int(about["layers"]))
    )
    encoder = EncoderWeights(
        words=_floats(tensors, "words", 2),
        places=_floats(tensors, "places", 2),
        types=_floats(tensors, "types", 2) if "types" in tensors else None,
        norm=_norm(tensors, "norm", epsilon),
        layers=layers,
        heads=int(about["heads"]),
        activation=about["activation"],
    )
    model = NativeModel(
        encoder=encoder,
        dense=_linear(tensors, "dense"),
        dense_activation=about["dense_activation"],
        classifier=_linear(tensors, "classifier"),
        mean=about["mean"] == "1",
        with_types=about["with_types"] == "1",
        padding_offset=int(about["padding_offset"]) if about["padding_offset"] else None,
    )
    _check_shapes(model)
    return model


def _check_shapes(model: NativeModel) -> None:
    """The library trusts shapes, so none may be wrong.

    Raises:
        ValueError: One is.
    """
    encoder = model.encoder
    hidden = encoder.words.shape[1]
    if not encoder.layers:
        raise ValueError("it has no layers")
    inner = encoder.layers[0].up.weight.shape[0]
    wanted = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden)}
    wanted |= {"up": (inner, hidden), "down": (hidden, inner)}
    integers = encoder.layers[0].up.scales is not None
    widths = {hidden, encoder.places.shape[1]}
    widths |= set() if encoder.types is None else {encoder.types.shape[1]}
    norms = [encoder.norm]
    for layer in encoder.layers:
        norms += [layer.out_norm, layer.down_norm]
        for name, shape in wanted.items():
            linear: LinearWeights = getattr(layer, name)
            if linear.weight.shape != shape:
                raise ValueError(f"{name} has the shape {linear.weight.shape}; expected {shape}")
            if (linear.scales is not None) != integers:
                raise ValueError("some of its layers are integers and others are not")
    for norm in norms:
        widths |= {len(norm.weight)} | (set() if norm.bias is None else {len(norm.bias)})
    if widths != {hidden}:
        raise ValueError(f"its states have several widths: {sorted(widths)}")
    if model.dense.weight.shape[1] != hidden:
        raise ValueError("its head does not fit its encoder")
    if model.classifier.weight.shape[1] != model.dense.weight.shape[0]:
        raise ValueError("the layers of its head do not fit each other")
    if model.dense_activation not in HEAD_ACTIVATIONS:
        raise ValueError(f"its head has the activation {model.dense_activation!r}")


def _put_linear(tensors: dict[str, NDArray[Any]], name: str, layer: LinearWeights) -> None:
    tensors[f"{name}.weight"] = layer.weight
    if layer.bias is not None:
        tensors[f"{name}.bias"] = layer.bias
    if layer.scales is not None:
        tensors[f"{name}.scales"] = layer.scales


def _put_norm(tensors: dict[str, NDArray[Any]], name: str, norm: NormWeights) -> None:
    tensors[f"{name}.weight"] = norm.weight
    if norm.bias is not None:
        tensors[f"{name}.bias"] = norm.bias


def _floats(tensors: dict[str, NDArray[Any]], name: str, dimensions: int) -> NDArray[np.float32]:
    found = tensors[name]
    if found.dtype != np.float32 or found.ndim != dimensions:
        raise ValueError(f"{name} is {found.ndim}-dimensional {found.dtype}, not float32")
    return found


def _linear(tensors: dict[str, NDArray[Any]], name: str) -> LinearWeights:
    weight = tensors[f"{name}.weight"]
    scales = _floats(tensors, f"{name}.scales", 1) if f"{name}.scales" in tensors else None
    if weight.ndim != 2 or weight.dtype != (np.float32 if scales is None else np.int16):
        raise ValueError(f"{name}.weight is {weight.ndim}-dimensional {weight.dtype}")
    bias = _floats(tensors, f"{name}.bias", 1) if f"{name}.bias" in tensors else None
    for part in (bias, scales):
        if part is not None and len(part) != len(weight):
            raise ValueError(f"{name} has {len(weight)} outputs, but {len(part)} numbers for them")
    return LinearWeights(weight, bias, scales)


def _norm(tensors: dict[str, NDArray[Any]], name: str, epsilon: float) -> NormWeights:
    bias = _floats(tensors, f"{name}.bias", 1) if f"{name}.bias" in tensors else None
    return NormWeights(_floats(tensors, f"{name}.weight", 1), bias, epsilon)
