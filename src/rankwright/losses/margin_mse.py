"""MarginMSE: differences between a positive and its negatives, as a teacher sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rankwright.losses.base import (
    Loss,
    activation_of,
    checked_mini_batch_size,
    function_name,
    grouped,
    taken_reduction,
)
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import as_real, pad_to_matrix

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["MarginMSELoss", "margin_mse"]


def margin_mse(
    scores: Tensor, labels: Tensor, group_sizes: Tensor, reduction: str = "mean"
) -> Tensor:
    """``((s_0 - s_i) - (y_0 - y_i))²`` averaged over all documents i after the first of a group.

    Args:
        scores: ``(P,)`` scores; the first of each group is the positive.
        labels: ``(P,)`` the teacher's scores.
        group_sizes: ``(Q,)`` int64, pairs per group.
        reduction: ``"mean"`` over the negatives (0 if there are none), or ``"sum"``.
    """
    scores = as_real(scores)
    error, real = pad_to_matrix(scores - labels.to(scores), group_sizes)
    squares = (error[:, :1] - error[:, 1:]).square()
    negatives = real[:, 1:]
    total = squares.masked_fill(~negatives, 0.0).sum()
    return total / negatives.sum().clamp(min=1) if reduction == "mean" else total


class MarginMSELoss(Loss):
    """Learns how much better than each negative the positive is (Hofstätter et al., 2021).

    ==================================  =========================================  ==============
    columns                             labels                                     model
    ==================================  =========================================  ==============
    (query, positive, negative_1..n)    n + 1 teacher scores, or n margins (of     ``num_labels=1``
                                        the positive over each negative); one
                                        number if n is 1
    (query, [positive, negatives...])   as many teacher scores as documents        ``num_labels=1``
    ==================================  =========================================  ==============

    Args:
        model: A model with one label.
        activation_fn: Applied to the scores first; by default they stay as they are.
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
        self.pairs = PairBuilder(
            type(self).__name__, ("tuples", "lists"), LabelRule(), margins=True
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over all negatives of the batch. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        return margin_mse(self.activation_fn(scores), labels, group_sizes, self.reduction)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of negatives. See `Loss.weight_of`."""
        if group_sizes is None or self.reduction != "mean":
            return None
        return float((group_sizes - 1).clamp(min=0).sum())

    def get_config_dict(self) -> dict[str, Any]:
        """Activation."""
        return {"activation_fn": function_name(self.activation_fn)}
