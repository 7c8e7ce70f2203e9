"""Sums, means, maxima and softmaxes within groups of a flat score vector.

Groups are consecutive: group i owns ``sizes[i]`` values. Half-precision values are computed on
in float32. Work is done on a padded ``(Q, longest)`` matrix rather than with scattered additions,
so results do not change from run to run on a GPU. Groups may be empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "as_real",
    "from_matrix",
    "groups_with_values",
    "mean_over_groups",
    "pad_to_matrix",
    "segment_ids",
    "segment_log_softmax",
    "segment_max",
    "segment_mean",
    "segment_sum",
]


def as_real(values: Tensor) -> Tensor:
    """The same values in float32, or in float64 where they are float64."""
    return values if values.dtype == torch.float64 else values.float()


def segment_ids(sizes: Tensor, device: torch.device | None = None) -> Tensor:
    """``(P,)`` int64: the group each value belongs to."""
    ids = torch.repeat_interleave(torch.arange(sizes.numel(), device=sizes.device), sizes)
    return ids if device is None else ids.to(device)


def _cells(sizes: Tensor, device: torch.device) -> tuple[Tensor, tuple[int, int]]:
    """``(P,)`` index of each value in the flattened matrix, and the matrix's shape."""
    sizes = sizes.cpu()
    rows, width = sizes.numel(), int(sizes.max()) if sizes.numel() else 0
    starts = sizes.cumsum(0) - sizes
    ids = segment_ids(sizes)
    cells = ids * width + torch.arange(ids.numel()) - starts[ids]
    return cells.to(device), (rows, width)


def pad_to_matrix(values: Tensor, sizes: Tensor, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """One row per group.

    Args:
        values: ``(P,)`` values.
        sizes: ``(Q,)`` int64, values per group.
        fill: What stands where a group has no more values.

    Returns:
        ``(Q, longest)`` values and the ``(Q, longest)`` bool mask of real ones.
    """
    cells, shape = _cells(sizes, values.device)
    flat = values.new_full((shape[0] * shape[1],), fill)
    mask = torch.zeros(flat.shape, dtype=torch.bool, device=values.device)
    mask[cells] = True
    return flat.index_copy(0, cells, values).view(shape), mask.view(shape)


def from_matrix(matrix: Tensor, sizes: Tensor) -> Tensor:
    """The reverse of `pad_to_matrix`: ``(P,)``."""
    cells, _ = _cells(sizes, matrix.device)
    return matrix.reshape(-1)[cells]


def groups_with_values(sizes: Tensor) -> float:
    """How many groups are not empty."""
    return float((sizes > 0).sum())


def mean_over_groups(per_group: Tensor, sizes: Tensor) -> Tensor:
    """The mean of ``(Q,)`` values, 0 for empty groups, over those that are not; 0 without any."""
    return per_group.sum() / max(groups_with_values(sizes), 1.0)


def segment_sum(values: Tensor, sizes: Tensor) -> Tensor:
    """``(Q,)`` sum of each group; 0 for empty groups."""
    return pad_to_matrix(as_real(values), sizes)[0].sum(1)


def segment_mean(values: Tensor, sizes: Tensor) -> Tensor:
    """``(Q,)`` mean of each group; 0 for empty groups."""
    total = segment_sum(values, sizes)
    return total / sizes.clamp(min=1).to(total.device)


def segment_max(values: Tensor, sizes: Tensor) -> Tensor:
    """``(Q,)`` maximum of each group; minus infinity for empty groups."""
    matrix, _ = pad_to_matrix(as_real(values), sizes, float("-inf"))
    if matrix.shape[1] == 0:
        return matrix.new_full((matrix.shape[0],), float("-inf"))
    return matrix.amax(1)


def segment_log_softmax(values: Tensor, sizes: Tensor) -> Tensor:
    """``(P,)`` logarithm of the softmax of each value within its group."""
    values = as_real(values)
    # The type's lowest number rather than minus infinity: an empty group's row of nothing but
    # fill would give NaN, which backward would spread.
    matrix, _ = pad_to_matrix(values, sizes, torch.finfo(values.dtype).min)
    return from_matrix(matrix.log_softmax(1), sizes)
