"""ListMLE and its position-aware form: the likelihood of the right order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankwright.errors import InputError
from rankwright.losses.base import (
    activation_of,
    checked_mini_batch_size,
    function_name,
    grouped,
)
from rankwright.losses.listwise import ListwiseLoss
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import (
    as_real,
    from_matrix,
    mean_over_groups,
    pad_to_matrix,
    segment_ids,
    segment_sum,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["ListMLELoss", "PListMLELambdaWeight", "PListMLELoss", "plackett_luce"]

logger = logging.getLogger(__name__)


def plackett_luce(scores: Tensor, group_sizes: Tensor) -> Tensor:
    """``log(exp sᵢ / Σ_{j ≥ i} exp sⱼ)``: how likely each document is chosen among those left.

    Args:
        scores: ``(P,)`` scores, in the order to be likely.
        group_sizes: ``(Q,)`` int64, pairs per group.

    Returns:
        ``(P,)`` log-probabilities; their sum over a group is the Plackett-Luce log-likelihood of
        its order.
    """
    scores = as_real(scores)
    sizes = group_sizes.cpu()
    ends = sizes.cumsum(0)
    # Backwards, so that the padding of shorter groups comes after all that is summed up.
    backwards = (2 * ends - sizes - 1)[segment_ids(sizes)] - torch.arange(len(scores))
    backwards = backwards.to(scores.device)
    matrix, _ = pad_to_matrix(scores[backwards], sizes)
    if matrix.shape[1] == 0:
        return scores
    return scores - from_matrix(matrix.logcumsumexp(1), sizes)[backwards]


class PListMLELambdaWeight(nn.Module):
    """How much each place of the order counts in `PListMLELoss`.

    Args:
        rank_discount_fn: Takes the ``(Q, L)`` bool mask of real documents, in the order to be
            learned, and returns weights of that shape. What it returns for padding is ignored.
            By default ``2^(n - rank) - 1`` for a list of n documents (Lan et al., 2014).
    """

    def __init__(self, rank_discount_fn: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.rank_discount_fn = rank_discount_fn

    def forward(self, mask: Tensor) -> Tensor:
        """The weights, before `PListMLELoss` divides them by their sum.

        Args:
            mask: ``(Q, L)`` bool, true for documents, false for padding.

        Returns:
            ``(Q, L)`` weights, 0 for padding. By default those of lists of more than 100 documents
            are all divided by the same number, so that they stay finite.

        Raises:
            InputError: ``rank_discount_fn`` returned something of another shape.
        """
        if self.rank_discount_fn is not None:
            weights = self.rank_discount_fn(mask)
            if not isinstance(weights, Tensor) or weights.shape != mask.shape:
                found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights)
                raise InputError(
                    f"rank_discount_fn must return a tensor of the shape of its mask, "
                    f"{tuple(mask.shape)}; found {found}."
                )
            return weights.masked_fill(~mask, 0)
        count = mask.sum(1, keepdim=True).float()
        excess = (count - 100.0).clamp(min=0.0)
        ranks = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        return (torch.exp2(count - ranks - excess) - torch.exp2(-excess)).masked_fill(~mask, 0.0)


_POSITION_AWARE = PListMLELambdaWeight()


class PListMLELoss(ListwiseLoss):
    """Makes the right order likely, its first places above all (Lan et al., 2014).

    The scores define a Plackett-Luce model, which draws the documents of a query one after
    another, each with the softmax of the scores over those that are left. The loss of a query is
    ``-Σᵢ w(i) · log P(document at place i | those before it)``, with weights that sum to 1; the
    loss of a batch is the mean over its queries that have documents.

    =========================  ===============================  =====================
    columns                    labels                           model
    =========================  ===============================  =====================
    (query, [documents])       a list of numbers per row        ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row        ``num_labels=1``
    =========================  ===============================  =====================

    A list of one document has no order to learn, so its loss is 0.

    Args:
        model: A model with one label.
        lambda_weight: Weights of the places; None weights all places with 1, which is ListMLE.
        activation_fn: Applied to the scores first; by default they stay as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.
        respect_input_order: Whether the documents stand in the order to be learned, whatever
            their labels are. If False, the order is that of the labels, the highest first, and
            that of the input among documents of equal label.

    Raises:
        InputError: A model with several labels.
    """

    citation = """@inproceedings{lan2014position,
    title = {Position-Aware {ListMLE}: A Sequential Learning Process for Ranking},
    author = {Lan, Yanyan and Zhu, Yadong and Guo, Jiafeng and Niu, Shuzi and Cheng, Xueqi},
    booktitle = {Proceedings of the 30th Conference on Uncertainty in Artificial Intelligence},
    year = {2014},
    pages = {449--458}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        lambda_weight: nn.Module | None = _POSITION_AWARE,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model)
        self.lambda_weight = lambda_weight
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.respect_input_order = respect_input_order
        self.pairs = PairBuilder(type(self).__name__, ("lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the groups that have documents. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        scores = as_real(self.activation_fn(scores))
        if not self.respect_input_order:
            scores = scores[_by_label(labels, group_sizes)]
        logs = plackett_luce(scores, group_sizes)
        if self.lambda_weight is not None:
            logs = logs * self._weights(logs, group_sizes)
        return mean_over_groups(-segment_sum(logs, group_sizes), group_sizes)

    def _weights(self, like: Tensor, group_sizes: Tensor) -> Tensor:
        """``(P,)`` weights of the places that sum to 1 in every group, or are all 0."""
        assert self.lambda_weight is not None
        _, mask = pad_to_matrix(torch.zeros_like(like), group_sizes)
        weights: Tensor = self.lambda_weight(mask).to(like)
        total = weights.sum(1, keepdim=True)
        return from_matrix(weights / torch.where(total == 0, 1.0, total), group_sizes)

    def check(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See `Loss.check`; warns where the order of the documents contradicts their labels."""
        built = self.pairs(columns)
        if not self.respect_input_order or built.labels is None or built.group_sizes is None:
            return
        start = 0
        for size in built.group_sizes:
            labels = built.labels[start : start + size]
            if labels != sorted(labels, reverse=True):
                logger.warning(
                    "%s learns the order in which documents are given, but labels such as %s do "
                    "not fall along it. Sort the documents, or pass respect_input_order=False.",
                    type(self).__name__,
                    labels[:8],
                )
                return
            start += size

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        weight = self.lambda_weight
        return {
            "lambda_weight": None if weight is None else function_name(weight),
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
            "respect_input_order": self.respect_input_order,
        }


class ListMLELoss(PListMLELoss):
    """Makes the right order likely, all places alike (Xia et al., 2008).

    `PListMLELoss` with the weight 1 at every place, so that the loss of a query is the negative
    log-likelihood of its order. Columns, labels and the other arguments are the same.
    """

    citation = """@inproceedings{xia2008listwise,
    title = {Listwise Approach to Learning to Rank: Theory and Algorithm},
    author = {Xia, Fen and Liu, Tie-Yan and Wang, Jue and Zhang, Wensheng and Li, Hang},
    booktitle = {Proceedings of the 25th International Conference on Machine Learning},
    year = {2008},
    pages = {1192--1199},
    doi = {10.1145/1390156.1390306}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model, None, activation_fn, mini_batch_size, respect_input_order)

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        config = super().get_config_dict()
        del config["lambda_weight"]
        return config


def _by_label(labels: Tensor, group_sizes: Tensor) -> Tensor:
    """``(P,)`` indices: the documents of each group by label, the highest first; ties as given."""
    falling = torch.sort(labels, descending=True, stable=True).indices
    groups = segment_ids(group_sizes, labels.device)[falling]
    return falling[torch.sort(groups, stable=True).indices]
