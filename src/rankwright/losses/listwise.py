"""What losses that compare whole lists have in common."""

from __future__ import annotations

from torch import Tensor

from rankwright.losses.base import Loss
from rankwright.losses.segments import groups_with_values

__all__ = ["ListwiseLoss"]


class ListwiseLoss(Loss):
    """Base of losses that are a mean over the groups that have documents."""

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of groups that have documents. See `Loss.weight_of`."""
        return None if group_sizes is None else groups_with_values(group_sizes)
