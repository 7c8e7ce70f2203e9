"""Binary cross-entropy: every pair on its own."""

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

__all__ = ["BinaryCrossEntropyLoss", "binary_cross_entropy"]


def binary_cross_entropy(
    scores: Tensor, labels: Tensor, pos_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``-(w·y·log σ(s) + (1-y)·log(1-σ(s)))`` over all pairs, ``(P,)`` and ``(P,)`` to a scalar."""
    scores = as_real(scores)
    weight = None if pos_weight is None else pos_weight.to(scores)
    return F.binary_cross_entropy_with_logits(
        scores, labels.to(scores), pos_weight=weight, reduction=reduction
    )


class BinaryCrossEntropyLoss(Loss):
    """Asks of each pair alone: relevant or not?

    =========================  ===============================  =====================
    columns                    labels                           model
    =========================  ===============================  =====================
    (query, document)          one number from 0 to 1 per row   ``num_labels=1``
    (query, [documents])       a list of numbers per row        ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row        ``num_labels=1``
    =========================  ===============================  =====================

    Args:
        model: A model with one label.
        activation_fn: Applied to the scores before the loss; the loss has its own sigmoid, so
            the default leaves scores as they are.
        pos_weight: How much a relevant pair counts beside an irrelevant one. The number of
            negatives per positive is a good value.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.
        **kwargs: ``reduction="sum"`` adds up instead of averaging; anything else of
            `torch.nn.BCEWithLogitsLoss` is refused.

    Raises:
        InputError: Unknown options, or a model with several labels.
        LabelError: In the collator, on labels outside 0 to 1.
    """

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        pos_weight: Tensor | float | None = None,
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model)
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.reduction = taken_reduction(
            type(self).__name__, kwargs, "activation_fn, pos_weight, mini_batch_size"
        )
        self.pos_weight: Tensor | None
        weight = None if pos_weight is None else torch.as_tensor(pos_weight, dtype=torch.float32)
        if weight is not None and (weight.numel() != 1 or not bool(weight > 0)):
            raise InputError(f"pos_weight must be one number above 0, found {pos_weight!r}.")
        self.register_buffer("pos_weight", None if weight is None else weight.reshape(()))
        self.pairs = PairBuilder(
            type(self).__name__, ("pairs", "lists", "tuples"), LabelRule(0.0, 1.0)
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the P pairs; groups play no part. See `Loss.compute`."""
        if labels is None:
            raise InputError("BinaryCrossEntropyLoss needs labels, one per score.")
        return binary_cross_entropy(
            self.activation_fn(scores), labels, self.pos_weight, self.reduction
        )

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of pairs. See `Loss.weight_of`."""
        return float(pairs) if self.reduction == "mean" else None

    def get_config_dict(self) -> dict[str, Any]:
        """Activation and weight of positives."""
        return {
            "activation_fn": function_name(self.activation_fn),
            "pos_weight": None if self.pos_weight is None else float(self.pos_weight),
        }
