"""Rerankers for the compiled library (`rankwright.engine.native`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from rankwright.engine.compiled import encoder_weights, linear_weights, reason_against
from rankwright.engine.encoders import packed_encoder
from rankwright.engine.families.post_norm import PostNormEncoder
from rankwright.engine.native.files import HEAD_ACTIVATIONS, NativeModel, write_native
from rankwright.engine.prepacked import fused_activation
from rankwright.errors import ExportError

__all__ = ["save_native"]

_Layers = tuple[nn.Module, str, nn.Module]


def _bert(model: Any) -> _Layers:
    return model.bert.pooler.dense, "tanh", model.classifier


def _roberta(model: Any) -> _Layers:
    return model.classifier.dense, "tanh", model.classifier.out_proj


def _electra(model: Any) -> _Layers:
    head = model.classifier
    exact = fused_activation(head.activation) == ("gelu", "none")
    return head.dense, "gelu" if exact else type(head.activation).__name__, head.out_proj


def _distilbert(model: Any) -> _Layers:
    return model.pre_classifier, "relu", model.classifier


_HEADS: dict[str, Callable[[Any], _Layers]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "electra": _electra,
    "distilbert": _distilbert,
}


def save_native(model: Any, path: Path, precision: str, with_types: bool) -> None:
    """Writes a transformers model with a sequence-classification head.

    Args:
        model: The model, in float32 on the CPU.
        path: Where to.
        precision: ``"fp32"`` or ``"int16"``.
        with_types: Whether ``token_type_ids`` are an input.

    Raises:
        ExportError: The library cannot run such a model.
    """
    kind = model.config.model_type
    named = type(model).__name__.endswith("ForSequenceClassification")
    encoder = packed_encoder(model.base_model) if kind in _HEADS and named else None
    reason = reason_against(encoder)
    dense, activation, classifier = _HEADS[kind](model) if encoder else (None, "", None)
    if reason is None and not (type(dense) is type(classifier) is nn.Linear):
        reason = "its head has adapters"
    if reason is None and activation not in HEAD_ACTIVATIONS:
        reason = f"its head has the activation {activation}"
    if reason is not None:
        raise ExportError(
            f"The compiled library cannot run this model, because {reason}. Use --backend onnx or "
            "openvino."
        )
    assert isinstance(encoder, PostNormEncoder)
    write_native(
        path,
        NativeModel(
            encoder=encoder_weights(encoder, 16 if precision == "int16" else 32),
            dense=linear_weights(dense),
            dense_activation=activation,
            classifier=linear_weights(classifier),
            mean=getattr(model.config, "classifier_pooling", "cls") == "mean",
            with_types=with_types,
            padding_offset=encoder.padding_offset,
        ),
    )
