"""Cross-entropy over classes, for models with several labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import InputError
from rankwright.losses.base import (
    Loss,
    activation_of,
    checked_mini_batch_size,
    function_name,
    taken_reduction,
)
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import as_real

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss(Loss):
    """Asks which of several classes a pair belongs to.

    =========================  ===============================  ==============================
    columns                    labels                           model
    =========================  ===============================  ==============================
    (query, document)          class number, 0 to n - 1         ``num_labels=n``, at least 2
    =========================  ===============================  ==============================

    Args:
        model: A model with as many labels as there are classes.
        activation_fn: Applied to the scores before the loss; the loss has its own softmax, so
            the default leaves scores as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.
        **kwargs: ``label_smoothing`` from 0 to 1, ``weight``, a tensor with one weight per class,
            and ``reduction``, as in `torch.nn.CrossEntropyLoss`.

    Raises:
        InputError: Unknown options, or a model with one label.
        LabelError: In the collator, on labels that are not class numbers.
    """

    num_labels_needed = None

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model)
        if model.num_labels < 2:
            raise InputError(
                "CrossEntropyLoss needs a model with num_labels of at least 2, one per class; "
                "for one label use BinaryCrossEntropyLoss."
            )
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.label_smoothing = float(kwargs.pop("label_smoothing", 0.0))
        self.weight: Tensor | None
        self.register_buffer("weight", kwargs.pop("weight", None))
        self.reduction = taken_reduction(
            type(self).__name__, kwargs, "activation_fn, mini_batch_size, label_smoothing, weight"
        )
        if self.weight is not None and self.weight.shape != (model.num_labels,):
            raise InputError(
                f"weight must have one number for each of {model.num_labels} classes, found shape "
                f"{tuple(self.weight.shape)}."
            )
        rule = LabelRule(0, model.num_labels - 1, integer=True)
        self.pairs = PairBuilder(type(self).__name__, ("pairs",), rule)

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the pairs, weighted by class if there are weights; 0 if all weights are 0.

        Groups play no part. See `Loss.compute`.
        """
        if labels is None:
            raise InputError("CrossEntropyLoss needs labels, one per pair.")
        scores = as_real(self.activation_fn(scores))
        weight = None if self.weight is None else self.weight.to(scores)
        total = F.cross_entropy(
            scores, labels, weight=weight, label_smoothing=self.label_smoothing, reduction="sum"
        )
        if self.reduction == "sum":
            return total
        count = scores.new_tensor(len(scores)) if weight is None else weight[labels].sum()
        return total / torch.where(count > 0, count, torch.ones_like(count))

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The pairs, each with its class's weight. See `Loss.weight_of`."""
        if labels is None or self.reduction != "mean":
            return None
        if self.weight is None:
            return float(pairs)
        return float(self.weight.to(labels.device)[labels].sum())

    def get_config_dict(self) -> dict[str, Any]:
        """Activation, smoothing and weights."""
        return {
            "activation_fn": function_name(self.activation_fn),
            "label_smoothing": self.label_smoothing,
            "weight": None if self.weight is None else self.weight.tolist(),
        }
