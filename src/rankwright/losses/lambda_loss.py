"""LambdaLoss and RankNet: pairs of documents of one query, weighted by what their order costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.errors import InputError
from rankwright.losses.base import (
    Loss,
    activation_of,
    checked_mini_batch_size,
    function_name,
    grouped,
)
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import as_real, pad_to_matrix
from rankwright.losses.weighting import NDCGLoss1Scheme, NDCGLoss2PPScheme, NoWeightingScheme

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["LambdaLoss", "RankNetLoss"]

_DEFAULT_SCHEME = NDCGLoss2PPScheme()
_MOST_GRADE = 64.0
"""Gains of labels above this are scaled down together, so that they stay finite."""

_LOGS = {"binary": 1.0 / math.log(2.0), "natural": 1.0}


class LambdaLoss(Loss):
    """A bound on NDCG, or on NDCG at k, from weighted pairs of documents (Wang et al., 2018).

    For every two documents of a query of which the first has the higher label:
    ``-w · log σ(sigma · (s_first - s_second))``, averaged over all such pairs of the batch. The
    weights ``w`` come from gains ``2^y - 1`` and from the ranks the present scores give; documents
    of equal score rank in the order of the input. Labels below 0 have no gain.

    =========================  ===============================  =====================
    columns                    labels                           model
    =========================  ===============================  =====================
    (query, [documents])       a list of numbers per row        ``num_labels=1``
    (query, document_1, ...)   a list of numbers per row        ``num_labels=1``
    =========================  ===============================  =====================

    Args:
        model: A model with one label.
        weighting_scheme: How pairs are weighted; by default `NDCGLoss2PPScheme`. None weights
            all alike, as `NoWeightingScheme` does.
        k: Only pairs with a document among the first k count, and NDCG is taken at k; None for
            the whole list.
        sigma: Steepness of the sigmoid.
        eps: Least ideal DCG, so that lists without a relevant document divide by something.
        reduction_log: ``"binary"`` or ``"natural"`` logarithm.
        activation_fn: Applied to the scores first; by default they stay as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: Options out of range, or a model with several labels.
    """

    citation = """@inproceedings{wang2018lambdaloss,
    title = {The LambdaLoss Framework for Ranking Metric Optimization},
    author = {Wang, Xuanhui and Li, Cheng and Golbandi, Nadav and Bendersky, Michael and Najork, Marc},
    booktitle = {Proceedings of the 27th ACM International Conference on Information and Knowledge Management},
    year = {2018},
    pages = {1313--1322},
    doi = {10.1145/3269206.3271784}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        weighting_scheme: nn.Module | None = _DEFAULT_SCHEME,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: str = "binary",
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        if reduction_log not in _LOGS:
            raise InputError(
                f"reduction_log must be 'binary' or 'natural', found {reduction_log!r}."
            )
        if k is not None and k < 1:
            raise InputError(f"k must be at least 1, or None for whole lists; found {k!r}.")
        self.weighting_scheme = (
            NoWeightingScheme() if weighting_scheme is None else weighting_scheme
        )
        self.k, self.sigma, self.eps = k, sigma, eps
        self.reduction_log = reduction_log
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.pairs = PairBuilder(type(self).__name__, ("lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over all pairs that count; 0 if there are none. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        flat = as_real(self.activation_fn(scores))
        lowest = torch.finfo(flat.dtype).min
        matrix, real = pad_to_matrix(flat, group_sizes)
        targets, _ = pad_to_matrix(labels.to(flat), group_sizes)
        # Padding must come last, whatever the scores are.
        keys = matrix.detach().masked_fill(~real, lowest)
        order = torch.sort(keys, dim=1, descending=True, stable=True).indices
        matrix, targets, real = (t.gather(1, order) for t in (matrix, targets, real))

        ideal = targets.masked_fill(~real, lowest).sort(1, descending=True).values.clamp(min=0.0)
        ranks = torch.arange(1, matrix.shape[1] + 1, device=flat.device, dtype=flat.dtype)
        discount = torch.log2(1.0 + ranks)[None]
        # Numerator and denominator by the same power of two, so that the quotient is unchanged.
        excess = (ideal[:, :1] - _MOST_GRADE).clamp(min=0.0)
        least = 2.0**-excess
        best = ((2.0 ** (ideal - excess) - least) / discount)[:, : self.k].sum(1, keepdim=True)
        gain = 2.0 ** (targets.clamp(min=0.0) - excess) - least
        gain = gain / best.clamp(min=self.eps)

        weights = self.weighting_scheme(gain, discount, targets)
        differences = matrix[:, :, None] - matrix[:, None, :]
        losses = weights * F.logsigmoid(self.sigma * differences) * _LOGS[self.reduction_log]
        counts = self._counting(targets, real, discount.shape[1])
        total: Tensor = -losses.masked_fill(~counts, 0.0).sum()
        return total / counts.sum().clamp(min=1)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of pairs that count. See `Loss.weight_of`.

        None with ``k``, where the scores decide which pairs those are.
        """
        if labels is None or group_sizes is None:
            return None
        if isinstance(self.weighting_scheme, NDCGLoss1Scheme):
            outside = (group_sizes - (self.k or pairs)).clamp(min=0)
            return float((group_sizes.square() - outside.square()).sum())
        if self.k is not None:
            return None
        targets, real = pad_to_matrix(as_real(labels), group_sizes)
        return float(self._counting(targets, real, targets.shape[1]).sum())

    def _counting(self, targets: Tensor, real: Tensor, width: int) -> Tensor:
        """``(Q, L, L)`` which pairs count."""
        counts = real[:, :, None] & real[:, None, :]
        # NDCGLoss1 bounds the metric by all pairs; the others by pairs of different relevance.
        if not isinstance(self.weighting_scheme, NDCGLoss1Scheme):
            counts = counts & (targets[:, :, None] > targets[:, None, :])
        if self.k is not None:
            top = torch.arange(width, device=targets.device) < self.k
            counts = counts & (top[:, None] | top[None, :])
        return counts

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return {
            "weighting_scheme": function_name(self.weighting_scheme),
            "k": self.k,
            "sigma": self.sigma,
            "eps": self.eps,
            "reduction_log": self.reduction_log,
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }


class RankNetLoss(LambdaLoss):
    """Every two documents of a query in the right order, all pairs alike (Burges et al., 2005).

    Columns, labels and the other arguments are those of `LambdaLoss`.
    """

    citation = """@inproceedings{burges2005learning,
    title = {Learning to Rank Using Gradient Descent},
    author = {Burges, Chris and Shaked, Tal and Renshaw, Erin and Lazier, Ari and Deeds, Matt and Hamilton, Nicole and Hullender, Greg},
    booktitle = {Proceedings of the 22nd International Conference on Machine Learning},
    year = {2005},
    pages = {89--96},
    doi = {10.1145/1102351.1102363}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: str = "binary",
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            NoWeightingScheme(),
            k,
            sigma,
            eps,
            reduction_log,
            activation_fn,
            mini_batch_size,
        )
