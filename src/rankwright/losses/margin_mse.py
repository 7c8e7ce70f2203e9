"""MarginMSE: differences between a positive and its negatives, as a teacher sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rankwright.errors import InputError
from rankwright.losses.base import Loss, function_name
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import as_real, pad_to_matrix

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["MarginMSELoss", "margin_mse"]


def margin_mse(scores: Tensor, labels: Tensor, group_sizes: Tensor) -> Tensor:
    """``((s_0 - s_i) - (y_0 - y_i))²`` averaged over all documents i after the first of a group.

    Args:
        scores: ``(P,)`` scores; the first of each group is the positive.
        labels: ``(P,)`` the teacher's scores.
        group_sizes: ``(Q,)`` int64, pairs per group.
    """
    scores = as_real(scores)
    error, real = pad_to_matrix(scores - labels.to(scores), group_sizes)
    squares = (error[:, :1] - error[:, 1:]).square()
    negatives = real[:, 1:]
    return squares.masked_fill(~negatives, 0.0).sum() / negatives.sum().clamp(min=1)


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

    Raises:
        InputError: A model with several labels.
    """

    citation = """@misc{hofstaetter2021improving,
    title = {Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation},
    author = {Hofst{\\"a}tter, Sebastian and Althammer, Sophia and Schr{\\"o}der, Michael and Sertkan, Mete and Hanbury, Allan},
    year = {2021},
    eprint = {2010.02666},
    archivePrefix = {arXiv}
}"""  # noqa: E501

    def __init__(self, model: CrossEncoder, activation_fn: nn.Module | None = None) -> None:
        super().__init__(model)
        self.activation_fn = nn.Identity() if activation_fn is None else activation_fn
        self.pairs = PairBuilder(
            type(self).__name__, ("tuples", "lists"), LabelRule(), margins=True
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over all negatives of the batch. See `Loss.compute`."""
        if labels is None or group_sizes is None:
            raise InputError("MarginMSELoss needs labels and group sizes.")
        return margin_mse(self.activation_fn(scores), labels, group_sizes)

    def get_config_dict(self) -> dict[str, Any]:
        """Activation."""
        return {"activation_fn": function_name(self.activation_fn)}
