"""Mean squared error to a teacher's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

__all__ = ["MSELoss"]


class MSELoss(Loss):
    """Makes each score equal to a given one, for distillation and regression.

    =========================  ==================================  =====================
    columns                    labels                              model
    =========================  ==================================  =====================
    (query, document)          one number per row                  ``num_labels=1``
    (query, [documents])       a list of numbers per row           ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row           ``num_labels=1``
    =========================  ==================================  =====================

    Args:
        model: A model with one label.
        activation_fn: Applied to the scores before they are compared. With teachers' logits the
            default, none, is right; with probabilities pass `torch.nn.Sigmoid`.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.
        **kwargs: ``reduction="sum"`` adds up instead of averaging.

    Raises:
        InputError: Unknown options, or a model with several labels.
    """

    citation = """@misc{hofstaetter2021improving,
    title = {Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation},
    author = {Hofst{\\"a}tter, Sebastian and Althammer, Sophia and Schr{\\"o}der, Michael and Sertkan, Mete and Hanbury, Allan},
    year = {2021},
    eprint = {2010.02666},
    archivePrefix = {arXiv}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model)
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.reduction = taken_reduction(
            type(self).__name__, kwargs, "activation_fn, mini_batch_size"
        )
        self.pairs = PairBuilder(type(self).__name__, ("pairs", "lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the pairs; groups play no part. See `Loss.compute`."""
        if labels is None:
            raise InputError("MSELoss needs labels, one per score.")
        scores = as_real(self.activation_fn(scores))
        return F.mse_loss(scores, labels.to(scores), reduction=self.reduction)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of pairs. See `Loss.weight_of`."""
        return float(pairs) if self.reduction == "mean" else None

    def get_config_dict(self) -> dict[str, Any]:
        """Activation."""
        return {"activation_fn": function_name(self.activation_fn)}
