"""Cross-entropy over classes, for models with several labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import InputError
from rankwright.losses.base import Loss, function_name
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
        **kwargs: ``label_smoothing`` from 0 to 1, and ``weight``, a tensor with one weight per
            class, as in `torch.nn.CrossEntropyLoss`.

    Raises:
        InputError: Unknown options, or a model with one label.
        LabelError: In the collator, on labels that are not class numbers.
    """

    num_labels_needed = None

    def __init__(
        self, model: CrossEncoder, activation_fn: nn.Module | None = None, **kwargs: Any
    ) -> None:
        super().__init__(model)
        if model.num_labels < 2:
            raise InputError(
                "CrossEntropyLoss needs a model with num_labels of at least 2, one per class; "
                "for one label use BinaryCrossEntropyLoss."
            )
        self.activation_fn = nn.Identity() if activation_fn is None else activation_fn
        self.label_smoothing = float(kwargs.pop("label_smoothing", 0.0))
        self.weight: Tensor | None
        self.register_buffer("weight", kwargs.pop("weight", None))
        if kwargs:
            raise InputError(
                f"CrossEntropyLoss does not know the option {', '.join(kwargs)}; it takes "
                "activation_fn, label_smoothing and weight."
            )
        if self.weight is not None and self.weight.shape != (model.num_labels,):
            raise InputError(
                f"weight must have one number for each of {model.num_labels} classes, found shape "
                f"{tuple(self.weight.shape)}."
            )
        rule = LabelRule(0, model.num_labels - 1, integer=True)
        self.pairs = PairBuilder(type(self).__name__, ("pairs",), rule)

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the pairs; groups play no part. See `Loss.compute`."""
        if labels is None:
            raise InputError("CrossEntropyLoss needs labels, one per pair.")
        scores = as_real(self.activation_fn(scores))
        weight = None if self.weight is None else self.weight.to(scores)
        return F.cross_entropy(scores, labels, weight=weight, label_smoothing=self.label_smoothing)

    def get_config_dict(self) -> dict[str, Any]:
        """Activation, smoothing and weights."""
        return {
            "activation_fn": function_name(self.activation_fn),
            "label_smoothing": self.label_smoothing,
            "weight": None if self.weight is None else self.weight.tolist(),
        }
