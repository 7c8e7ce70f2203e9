"""ListNet: the softmax of the scores against the softmax of the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

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
    mean_over_groups,
    segment_log_softmax,
    segment_sum,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["ListNetLoss", "list_net"]


def list_net(scores: Tensor, labels: Tensor, group_sizes: Tensor) -> Tensor:
    """``-Σ softmax(y)ᵢ · log softmax(s)ᵢ`` of each group, averaged over groups with documents.

    Args:
        scores: ``(P,)`` scores.
        labels: ``(P,)`` labels.
        group_sizes: ``(Q,)`` int64, pairs per group.
    """
    scores = as_real(scores)
    target = segment_log_softmax(labels.to(scores), group_sizes).exp()
    per_group = -segment_sum(target * segment_log_softmax(scores, group_sizes), group_sizes)
    return mean_over_groups(per_group, group_sizes)


class ListNetLoss(ListwiseLoss):
    """Compares whole lists as distributions over which document comes first (Cao et al., 2007).

    =========================  ===============================  =====================
    columns                    labels                           model
    =========================  ===============================  =====================
    (query, [documents])       a list of numbers per row        ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row        ``num_labels=1``
    =========================  ===============================  =====================

    Args:
        model: A model with one label.
        activation_fn: Applied to the scores first; by default they stay as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: A model with several labels.
    """

    citation = """@inproceedings{cao2007learning,
    title = {Learning to Rank: From Pairwise Approach to Listwise Approach},
    author = {Cao, Zhe and Qin, Tao and Liu, Tie-Yan and Tsai, Ming-Feng and Li, Hang},
    booktitle = {Proceedings of the 24th International Conference on Machine Learning},
    year = {2007},
    pages = {129--136},
    doi = {10.1145/1273496.1273513}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.pairs = PairBuilder(type(self).__name__, ("lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the groups. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        return list_net(self.activation_fn(scores), labels, group_sizes)

    def get_config_dict(self) -> dict[str, Any]:
        """Activation and mini-batch size."""
        return {
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
