"""gBCE: binary cross-entropy that knows how few of the negatives it sees."""

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
)
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.losses.segments import (
    as_real,
    groups_with_values,
    mean_over_groups,
    segment_ids,
    segment_mean,
    segment_sum,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["GBCELoss", "positive_weights"]


def positive_weights(sampling_rate: Tensor, t: float) -> Tensor:
    """``β = α · (t · (1 - 1/α) + 1/α)``, which is ``1 - t · (1 - α)``.

    Args:
        sampling_rate: α, of any shape: negatives seen over negatives there are, 0 to 1.
        t: Calibration, 0 to 1.
    """
    return 1.0 - t * (1.0 - sampling_rate)


class GBCELoss(Loss):
    """Binary cross-entropy whose positives count less, the fewer negatives were drawn.

    A model that is trained on a few of very many irrelevant documents takes documents to be
    relevant far too often. Generalised binary cross-entropy (Petrov and Macdonald, 2023; for
    cross-encoders Petrov et al., 2024) raises the positive's probability to the power β before
    the logarithm is taken:

    ``-1/(k + 1) · (β · log σ(s⁺) + Σ log(1 - σ(sᵢ⁻)))``  over the k negatives of a query, with
    ``β = α · (t · (1 - 1/α) + 1/α)`` and the sampling rate ``α = k / (documents - 1)``.

    With t = 0, β is 1 and this is `BinaryCrossEntropyLoss`. With t = 1, β is α and σ(s) estimates
    the probability as if all negatives had been seen. A collection of passages is so large that α
    is all but 0 and β all but ``1 - t``. Here, documents with labels between 0 and 1 take part in
    both terms in proportion, and with m positives in a list, α is taken over ``documents - m``.

    =========================  ===================================  =====================
    columns                    labels                               model
    =========================  ===================================  =====================
    (query, document_1, ...)   none: the first is relevant; or a    ``num_labels=1``
                               list of numbers from 0 to 1
    (query, [documents])       a list of numbers from 0 to 1        ``num_labels=1``
    (query, document)          one number from 0 to 1 per row;      ``num_labels=1``
                               needs ``sampling_rate``
    =========================  ===================================  =====================

    The mean is over the pairs of a list first, then over the lists; without lists, over the pairs.
    β follows from the numbers of documents alone, so a list without a relevant document, or with
    no other, has a loss too.

    Args:
        model: A model with one label.
        num_documents: Documents in the collection the negatives are drawn from.
        t: Calibration, from 0 (none) to 1 (full).
        sampling_rate: α, where it is not to be taken from the lists: drawn over all negatives.
        activation_fn: Applied to the scores before the loss; the loss has its own sigmoid, so
            the default leaves scores as they are.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`.

    Raises:
        InputError: Options out of range; neither or both of ``num_documents`` and
            ``sampling_rate``; or a model with several labels.
        LabelError: In the collator, on labels outside 0 to 1.
    """

    citation = """@inproceedings{petrov2023gsasrec,
    title = {{gSASRec}: Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling},
    author = {Petrov, Aleksandr Vladimirovich and Macdonald, Craig},
    booktitle = {Proceedings of the 17th ACM Conference on Recommender Systems},
    year = {2023},
    pages = {116--128},
    doi = {10.1145/3604915.3608783}
}"""  # noqa: E501

    def __init__(
        self,
        model: CrossEncoder,
        num_documents: int | None = None,
        t: float = 0.75,
        sampling_rate: float | None = None,
        activation_fn: nn.Module | None = None,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        if not (math.isfinite(t) and 0 <= t <= 1):
            raise InputError(f"t must be a number from 0 to 1, found {t!r}.")
        if (num_documents is None) == (sampling_rate is None):
            raise InputError(
                "GBCELoss needs to know how few negatives it sees: pass either num_documents, the "
                "size of the collection they are drawn from, or sampling_rate."
            )
        if num_documents is not None and num_documents < 2:
            raise InputError(f"num_documents must be at least 2, found {num_documents!r}.")
        if sampling_rate is not None and not 0 <= sampling_rate <= 1:
            raise InputError(f"sampling_rate must be from 0 to 1, found {sampling_rate!r}.")
        self.num_documents, self.t, self.sampling_rate = num_documents, t, sampling_rate
        self.activation_fn = activation_of(activation_fn)
        self.mini_batch_size = checked_mini_batch_size(mini_batch_size)
        layouts = ("tuples", "lists") if sampling_rate is None else ("tuples", "lists", "pairs")
        self.pairs = PairBuilder(
            type(self).__name__, layouts, LabelRule(0.0, 1.0), first_is_positive=True
        )

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """Mean over the groups of the mean over their pairs. See `Loss.compute`."""
        if labels is None or (group_sizes is None and self.sampling_rate is None):
            raise InputError("GBCELoss needs labels, and group sizes unless it has sampling_rate.")
        scores = as_real(self.activation_fn(scores))
        labels = labels.to(scores)
        beta = positive_weights(self._rates(labels, group_sizes), self.t)
        losses = -beta * labels * F.logsigmoid(scores) - (1.0 - labels) * F.logsigmoid(-scores)
        if group_sizes is None:
            return losses.sum() / max(len(losses), 1)
        return mean_over_groups(segment_mean(losses, group_sizes), group_sizes)

    def _rates(self, labels: Tensor, group_sizes: Tensor | None) -> Tensor:
        """The sampling rate at each pair, ``(P,)`` or a scalar."""
        if self.sampling_rate is not None or group_sizes is None:
            return labels.new_tensor(self.sampling_rate)
        assert self.num_documents is not None
        positives = segment_sum((labels > 0).to(labels), group_sizes)
        negatives = group_sizes.to(positives) - positives
        there = (self.num_documents - positives).clamp(min=1.0)
        rates = torch.minimum(negatives / there, torch.ones_like(there))
        return rates[segment_ids(group_sizes, labels.device)]

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | None:
        """The number of groups that have documents, or of pairs. See `Loss.weight_of`."""
        return float(pairs) if group_sizes is None else groups_with_values(group_sizes)

    def get_config_dict(self) -> dict[str, Any]:
        """All settings."""
        return {
            "num_documents": self.num_documents,
            "t": self.t,
            "sampling_rate": self.sampling_rate,
            "activation_fn": function_name(self.activation_fn),
            "mini_batch_size": self.mini_batch_size,
        }
