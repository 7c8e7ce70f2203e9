"""Classification heads: what turns pooled states into logits, in float32.

Heads are small, so precision costs nothing here and is worth having right before the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.dropout import dropout

__all__ = ["HEADS", "Head"]

Head = Callable[[Any, Tensor, bool], Tensor]
"""``(model, (P, hidden) pooled states, training) -> (P, num_labels)`` logits."""


def _bert(model: Any, x: Tensor, training: bool) -> Tensor:
    x = torch.tanh(model.bert.pooler.dense(x))
    return _logits(model.classifier, dropout(x, model.dropout.p, training))


def _roberta(model: Any, x: Tensor, training: bool) -> Tensor:
    head = model.classifier
    x = torch.tanh(head.dense(dropout(x, head.dropout.p, training)))
    return _logits(head.out_proj, dropout(x, head.dropout.p, training))


def _electra(model: Any, x: Tensor, training: bool) -> Tensor:
    head = model.classifier
    x = head.activation(head.dense(dropout(x, head.dropout.p, training)))
    return _logits(head.out_proj, dropout(x, head.dropout.p, training))


def _distilbert(model: Any, x: Tensor, training: bool) -> Tensor:
    x = torch.relu(model.pre_classifier(x))
    return _logits(model.classifier, dropout(x, model.dropout.p, training))


def _modernbert(model: Any, x: Tensor, training: bool) -> Tensor:
    return _logits(model.classifier, dropout(model.head(x), model.drop.p, training))


def _logits(layer: Any, x: Tensor) -> Tensor:
    logits: Tensor = layer(x)
    return logits


HEADS: dict[str, Head] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "electra": _electra,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
}
"""By ``config.model_type``."""
