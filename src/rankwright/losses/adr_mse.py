"""ADR-MSE: the distance between the ranks that scores give and those that labels give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankwright.losses.base import (
    Loss,
    activation_of,
    checked_mini_batch_size,
    checked_positive,
    function_name,
    grouped,
)
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import as_real, pad_to_matrix

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["ADRMSELoss", "adr_mse"]


def adr_mse(scores: Tensor, labels: Tensor, group_sizes: Tensor, alpha: float = 1.0) -> Tensor:
    """``(π - π̂)² / log2(1 + π)`` averaged over all documents.

    ``π`` is a document's rank by label, ``π̂ᵢ = 1 + Σ_{j ≠ i} σ(alpha · (sⱼ - sᵢ))`` its approximate
    rank by score (Qin et al., 2010). Documents of equal label share the mean of their ranks.

    Args:
        scores: ``(P,)`` scores.
        labels: ``(P,)`` labels.
        group_sizes: ``(Q,)`` int64, pairs per group.
        alpha: Steepness of the sigmoid.
    """
    matrix, real = pad_to_matrix(as_real(scores), group_sizes)
    targets, _ = pad_to_matrix(labels.to(matrix), group_sizes)
    others = real[:, None, :] & ~torch.eye(matrix.shape[1], dtype=torch.bool, device=matrix.device)
    above = targets[:, None, :] > targets[:, :, None]
    level = targets[:, None, :] == targets[:, :, None]
    ranks = 1.0 + (above & others).sum(2) + 0.5 * (level & others).sum(2)
    beaten_by = torch.sigmoid(alpha * (matrix[:, None, :] - matrix[:, :, None]))
    approximate = 1.0 + beaten_by.masked_fill(~others, 0.0).sum(2)
    errors = (ranks - approximate).square() / torch.log2(1.0 + ranks)
    return errors.masked_fill(~real, 0.0).sum() / max(len(scores), 1)


class ADRMSELoss(Loss):
    """Moves each document towards its right rank, the first ranks above all (Schlatt et al., 2025).

    Made for lists that a strong ranker, such as a large language model, has put in order: only
    the order of the labels counts, not their size.

    =========================  ===============================  =====================
    columns                    labels                           model
    =========================  ===============================  =====================
    (query, [documents])       a list of numbers per row        ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row        ``num_labels=1``
    =========================  ===============================  =====================

    The mean is over all documents of the batch, so a list counts in proportion to its length. A
    list whose labels are all equal is at its best where its scores are equal too.

    Args:
        model: A model with one label.
        alpha: Steepness of the sigmoid that approximates ranks. The higher, the closer the
            approximation, and the weaker the gradients of documents far apart.
        activation_fn: Applied to the scores first; by default they stay as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: ``alpha`` not above 0, or a model with several labels.
    """

    citation = """@inproceedings{schlatt2025rankdistillm,
    title = {Rank-DistiLLM: Closing the Effectiveness Gap Between Cross-Encoders and {LLMs} for Passage Re-ranking},
    author = {Schlatt, Ferdinand and Fr{\\"o}be, Maik and Scells, Harrisen and Zhuang, Shengyao and Koopman, Bevan and Zuccon, Guido and Stein, Benno and Potthast, Martin and Hagen, Matthias},
    booktitle = {Advances in Information Retrieval (ECIR 2025)},
    year = {2025},
    doi = {10.1007/978-3-031-88714-7_31}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        alpha: float = 1.0,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        self.alpha = checked_positive("alpha", alpha)
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.pairs = PairBuilder(type(self).__name__, ("lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the documents. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        return adr_mse(self.activation_fn(scores), labels, group_sizes, self.alpha)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of documents. See `Loss.weight_of`."""
        return float(pairs)

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return {
            "alpha": self.alpha,
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
