"""Multiple negatives ranking: the positive against documents of other rows of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rankwright.errors import InputError
from rankwright.losses.base import (
    Loss,
    activation_of,
    checked_mini_batch_size,
    checked_positive,
    function_name,
    grouped,
)
from rankwright.losses.group_softmax import group_softmax
from rankwright.losses.in_batch import InBatchPairBuilder
from rankwright.losses.pairs import LabelRule
from rankwright.losses.segments import as_real, segment_sum

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

_SIGMOID = nn.Sigmoid()

__all__ = ["CachedMultipleNegativesRankingLoss", "MultipleNegativesRankingLoss"]


class MultipleNegativesRankingLoss(Loss):
    """Makes the positive win against random documents of the batch (van den Oord et al., 2018).

    =====================================  =========  =====================
    columns                                labels     model
    =====================================  =========  =====================
    (query, positive)                      none       ``num_labels=1``
    (query, positive, negative_1, ...)     none       ``num_labels=1``
    =====================================  =========  =====================

    All pairs of a step, positives, drawn negatives and the rows' own ones, are scored in one
    forward pass. Documents that are also a positive of the same query, and documents of rows with
    the same query, are not drawn. ``BatchSamplers.NO_DUPLICATES`` keeps batches varied.

    Args:
        model: A model with one label.
        num_negatives: Negatives drawn per row, beside those the row has; None for all others.
        scale: Scores are multiplied by this after ``activation_fn``.
        activation_fn: Applied to the scores first; by default a sigmoid, which with ``scale``
            bounds how far apart two documents can be pushed. None leaves scores as they are.
        seed: For drawing negatives.

    Raises:
        InputError: Options out of range, or a model with several labels.
        ColumnError: In the collator, on a column of labels.
    """

    citation = """@misc{oord2018representation,
    title = {Representation Learning with Contrastive Predictive Coding},
    author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},
    year = {2018},
    eprint = {1807.03748},
    archivePrefix = {arXiv}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: nn.Module | None = _SIGMOID,
        seed: int = 0,
    ) -> None:
        super().__init__(model)
        if num_negatives is not None and num_negatives < 0:
            raise InputError(f"num_negatives must be at least 0, or None; found {num_negatives!r}.")
        self.num_negatives, self.scale = num_negatives, checked_positive("scale", scale)
        self.activation_fn = activation_of(activation_fn)
        self.pairs = InBatchPairBuilder(
            type(self).__name__,
            ("pairs", "tuples"),
            LabelRule(0.0, 1.0),
            num_negatives=num_negatives,
            seed=seed,
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the rows. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        scaled = self.activation_fn(as_real(scores)) * self.scale
        return group_softmax(scaled, labels, group_sizes)

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of rows. See `Loss.weight_of`."""
        if labels is None or group_sizes is None:
            return None
        return float((segment_sum(labels, group_sizes) > 0).sum())

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return {
            "num_negatives": self.num_negatives,
            "scale": self.scale,
            "activation_fn": function_name(self.activation_fn),
        }


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """The same, for large batches: memory is bounded by ``mini_batch_size`` (Gao et al., 2021).

    Args:
        model: A model with one label.
        num_negatives: As in `MultipleNegativesRankingLoss`.
        scale: As in `MultipleNegativesRankingLoss`.
        activation_fn: As in `MultipleNegativesRankingLoss`.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.
        show_progress_bar: Without effect: the trainer shows progress.
        seed: For drawing negatives.
    """

    citation = """@misc{gao2021scaling,
    title = {Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup},
    author = {Gao, Luyu and Zhang, Yunyi and Han, Jiawei and Callan, Jamie},
    year = {2021},
    eprint = {2101.06983},
    archivePrefix = {arXiv}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: nn.Module | None = _SIGMOID,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(model, num_negatives, scale, activation_fn, seed)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return super().get_config_dict() | {"mini_batch_size": self.mini_batch_size}
