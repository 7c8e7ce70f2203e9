"""Distillation of a teacher's distribution over the documents of a query."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankwright.losses.base import (
    activation_of,
    checked_mini_batch_size,
    checked_positive,
    function_name,
    grouped,
)
from rankwright.losses.listwise import ListwiseLoss
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import (
    as_real,
    mean_over_groups,
    segment_log_softmax,
    segment_max,
    segment_sum,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["DistillKLDivLoss", "kl_divergence"]

logger = logging.getLogger(__name__)

_FLAT = 1.1
"""A teacher's highest probability times the number of documents below which it says next to
nothing; 1 is a uniform distribution."""


def kl_divergence(
    scores: Tensor, labels: Tensor, group_sizes: Tensor, temperatures: tuple[float, float]
) -> Tensor:
    """``T² · Σ pᵢ (log pᵢ - log qᵢ)`` of each group, averaged over groups with documents.

    ``q`` is the softmax of the scores divided by the student's temperature T, ``p`` that of the
    labels divided by the teacher's. The factor T² keeps gradients the same size whatever the
    temperature (Hinton et al., 2015).

    Args:
        scores: ``(P,)`` the student's scores.
        labels: ``(P,)`` the teacher's.
        group_sizes: ``(Q,)`` int64, pairs per group.
        temperatures: The student's and the teacher's.
    """
    student, teacher = temperatures
    scores = as_real(scores)
    given = segment_log_softmax(labels.to(scores) / teacher, group_sizes)
    found = segment_log_softmax(scores / student, group_sizes)
    per_group = segment_sum(given.exp() * (given - found), group_sizes)
    return student**2 * mean_over_groups(per_group, group_sizes)


class DistillKLDivLoss(ListwiseLoss):
    """Learns a teacher's distribution over the documents of a query (Hinton et al., 2015).

    The loss of a query is the Kullback-Leibler divergence of the student's softmax over its
    documents from the teacher's. Unlike with `MSELoss` and `MarginMSELoss`, the size of the
    teacher's scores only matters relative to its temperature, and its best documents count most.

    ==================================  =================================  =====================
    columns                             labels                             model
    ==================================  =================================  =====================
    (query, [documents])                the teacher's scores, a list per   ``num_labels=1``
                                        row
    (query, positive, negative_1..n)    the teacher's n + 1 scores, a      ``num_labels=1``
                                        list per row
    ==================================  =================================  =====================

    Scores should be the teacher's logits. For probabilities or cosines, which lie close together,
    take a low ``teacher_temperature``, such as 0.05. A list of one document teaches nothing; its
    loss is 0.

    Args:
        model: A model with one label.
        temperature: The student's scores are divided by this. Higher temperatures make the less
            relevant documents count more.
        teacher_temperature: The same for the teacher's scores; ``temperature`` if None.
        activation_fn: Applied to the student's scores first; by default they stay as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: A temperature not above 0, or a model with several labels.
    """

    citation = """@misc{hinton2015distilling,
    title = {Distilling the Knowledge in a Neural Network},
    author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
    year = {2015},
    eprint = {1503.02531},
    archivePrefix = {arXiv}
}"""

    def __init__(
        self,
        model: CrossEncoder,
        temperature: float = 1.0,
        teacher_temperature: float | None = None,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        self.temperature = checked_positive("temperature", temperature)
        self.teacher_temperature = checked_positive(
            "teacher_temperature",
            temperature if teacher_temperature is None else teacher_temperature,
        )
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        self.pairs = PairBuilder(type(self).__name__, ("lists", "tuples"), LabelRule())

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the groups that have documents. See `Loss.compute`."""
        labels, group_sizes = grouped(self, labels, group_sizes)
        temperatures = (self.temperature, self.teacher_temperature)
        return kl_divergence(self.activation_fn(scores), labels, group_sizes, temperatures)

    def check(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See `Loss.check`; warns where the teacher's distributions are all but uniform."""
        built = self.pairs(columns)
        sizes = torch.tensor(built.group_sizes)
        labels = torch.tensor(built.labels, dtype=torch.float64) / self.teacher_temperature
        best = segment_max(segment_log_softmax(labels, sizes), sizes).exp() * sizes
        best = best[sizes > 1]
        if len(best) and float(best.mean()) < _FLAT:
            logger.warning(
                "The teacher's scores lie so close together that DistillKLDivLoss would teach next "
                "to nothing: its best documents get %.3f times the probability of chance. Lower "
                "teacher_temperature, now %g, or give the teacher's logits.",
                float(best.mean()),
                self.teacher_temperature,
            )

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return {
            "temperature": self.temperature,
            "teacher_temperature": self.teacher_temperature,
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
