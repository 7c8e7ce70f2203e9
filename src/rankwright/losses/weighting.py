"""How much each pair of documents counts in `LambdaLoss`.

A scheme is called with lists sorted by score, best first; Q lists, the longest with L documents:
``gain (Q, L)`` is ``2^y - 1`` divided by the list's ideal DCG, ``discount (1, L)`` is
``log2(1 + rank)``, ``labels (Q, L)``. It returns weights that broadcast to ``(Q, L, L)``, where
entry i, j belongs to the documents at ranks i and j.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "LambdaRankScheme",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
]


class NoWeightingScheme(nn.Module):
    """Every pair counts alike, as in RankNet (Burges et al., 2005)."""

    def forward(self, gain: Tensor, discount: Tensor, labels: Tensor) -> Tensor:
        """``(1, 1, 1)`` of one."""
        return gain.new_ones(1, 1, 1)


class NDCGLoss1Scheme(nn.Module):
    """The first document's gain over its discount (Wang et al., 2018, NDCG-Loss1)."""

    def forward(self, gain: Tensor, discount: Tensor, labels: Tensor) -> Tensor:
        """``(Q, L, 1)``."""
        return (gain / discount)[:, :, None]


class NDCGLoss2Scheme(nn.Module):
    """Difference in gain times ``|1/D(d) - 1/D(d+1)|`` for documents d ranks apart.

    A tighter bound on NDCG (Wang et al., 2018, NDCG-Loss2).
    """

    def forward(self, gain: Tensor, discount: Tensor, labels: Tensor) -> Tensor:
        """``(Q, L, L)``."""
        ranks = torch.arange(1, discount.shape[1] + 2, device=gain.device)
        inverse = 1.0 / torch.log2(1.0 + ranks.to(discount))
        steps = (inverse[:-1] - inverse[1:]).abs()
        apart = (ranks[:-1, None] - ranks[None, :-1]).abs()
        distance = steps[(apart - 1).clamp(min=0)] * (apart > 0)
        return (gain[:, :, None] - gain[:, None, :]).abs() * distance


class LambdaRankScheme(nn.Module):
    """How much NDCG changes when the two documents change places (Burges, 2010)."""

    def forward(self, gain: Tensor, discount: Tensor, labels: Tensor) -> Tensor:
        """``(Q, L, L)``."""
        inverse = 1.0 / discount
        swap = (inverse[:, :, None] - inverse[:, None, :]).abs()
        return (gain[:, :, None] - gain[:, None, :]).abs() * swap


class NDCGLoss2PPScheme(nn.Module):
    """``mu`` times `NDCGLoss2Scheme` plus `LambdaRankScheme` (Wang et al., 2018, NDCG-Loss2++).

    Args:
        mu: Weight of the bound.
    """

    def __init__(self, mu: float = 10.0) -> None:
        super().__init__()
        self.mu = mu
        self.bound = NDCGLoss2Scheme()
        self.swap = LambdaRankScheme()

    def forward(self, gain: Tensor, discount: Tensor, labels: Tensor) -> Tensor:
        """``(Q, L, L)``."""
        bound: Tensor = self.bound(gain, discount, labels)
        swap: Tensor = self.swap(gain, discount, labels)
        return self.mu * bound + swap
