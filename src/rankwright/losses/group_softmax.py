"""Softmax cross-entropy within the documents of one query."""

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
from rankwright.losses.segments import as_real, segment_log_softmax, segment_sum

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["GroupSoftmaxLoss", "group_softmax"]


def group_softmax(scores: Tensor, labels: Tensor, group_sizes: Tensor) -> Tensor:
    """``-Σ yᵢ/Σy · log softmax(s)ᵢ`` of each group, averaged over groups with a positive label.

    Args:
        scores: ``(P,)`` scores.
        labels: ``(P,)`` labels of at least 0.
        group_sizes: ``(Q,)`` int64, pairs per group.

    Returns:
        A scalar; 0, with zero gradients, if no group has a positive label.
    """
    labels = labels.to(as_real(scores))
    log_probabilities = segment_log_softmax(scores, group_sizes)
    mass = segment_sum(labels, group_sizes)
    useful = mass > 0
    sums = segment_sum(labels * log_probabilities, group_sizes)
    per_group = -sums / torch.where(useful, mass, torch.ones_like(mass))
    return per_group.sum() / useful.sum().clamp(min=1)


class GroupSoftmaxLoss(Loss):
    """Makes the relevant document win against the other documents of its query.

    Known as listwise softmax cross-entropy (Bruch et al., 2019) and, with mined negatives, as
    localised contrastive estimation (Gao et al., 2021). Only differences of scores within a
    query count, so scores of different queries stay comparable only as far as training leaves
    them so.

    =========================  ==========================================  ================
    columns                    labels                                      model
    =========================  ==========================================  ================
    (query, document_1, ...)   none: the first is relevant; or a list      ``num_labels=1``
    (query, [documents])       a list of numbers of at least 0             ``num_labels=1``
    =========================  ==========================================  ================

    Graded labels, or several positives, share the target in proportion to their labels. Queries
    without a positive label contribute nothing and do not count in the mean.

    Args:
        model: A model with one label.
        activation_fn: Applied to the scores first; by default they stay as they are.
        scale: Scores are multiplied by this first (the inverse of a temperature).
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: ``scale`` not above 0, or a model with several labels.
    """

    citation = """@inproceedings{bruch2019softmax,
    title = {An Analysis of the Softmax Cross Entropy Loss for Learning-to-Rank with Binary Relevance},
    author = {Bruch, Sebastian and Wang, Xuanhui and Bendersky, Michael and Najork, Marc},
    booktitle = {Proceedings of the 2019 ACM SIGIR International Conference on Theory of Information Retrieval},
    year = {2019},
    pages = {75--78},
    doi = {10.1145/3341981.3344221}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        scale: float = 1.0,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        self.activation_fn = activation_of(activation_fn)
        self.scale = checked_positive("scale", scale)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.pairs = PairBuilder(
            type(self).__name__, ("tuples", "lists"), LabelRule(low=0.0), first_is_positive=True
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the groups that have a positive label. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        return group_softmax(as_real(self.activation_fn(scores)) * self.scale, labels, group_sizes)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of groups that have a positive label. See `Loss.weight_of`."""
        if labels is None or group_sizes is None:
            return None
        return float((segment_sum(labels, group_sizes) > 0).sum())

    def get_config_dict(self) -> dict[str, Any]:
        """Activation and scale."""
        return {"activation_fn": function_name(self.activation_fn), "scale": self.scale}
