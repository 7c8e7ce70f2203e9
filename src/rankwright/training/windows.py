"""Several micro-batches, in turn or in several processes, as one larger batch.

transformers takes the mean of the micro-batches' losses, which is the loss of all their rows
only if each counts alike. Queries with longer lists, or an incomplete last batch, count
differently. `Loss.weight_of` says by how much, so the mean can be made exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rankwright.engine.batch import PackedBatch
from rankwright.losses.base import Loss

__all__ = ["Window", "scaled", "weight_of"]


def weight_of(loss: Loss, batch: PackedBatch) -> float | None:
    """How much a batch counts; None where the loss does not say it in one number."""
    weight = loss.weight_of(batch.num_pairs, batch.labels, batch.group_sizes)
    return float(weight) if isinstance(weight, int | float) else None


class Window:
    """The micro-batches of one optimiser step.

    Args:
        loss: The loss, or data set -> loss. Losses of several data sets are not comparable by
            weight, so there each micro-batch counts alike.
        samples: The micro-batches of this process.
        gather: With several processes, what makes one list of the lists of all.
    """

    def __init__(
        self,
        loss: Any,
        samples: Sequence[Mapping[str, Any]],
        gather: Callable[[list[float]], list[float]] | None = None,
    ) -> None:
        self._mean: float | None = None
        if isinstance(loss, Mapping):
            return
        weights = [weight_of(loss, PackedBatch.from_dict(sample)) for sample in samples]
        found = [math.nan if weight is None else weight for weight in weights]
        if gather is not None:
            found = gather(found)
        if found and all(math.isfinite(weight) for weight in found):
            self._mean = sum(found) / len(found)

    def factor(self, loss: Loss, batch: PackedBatch) -> float:
        """What to multiply the loss of one of the micro-batches by before the mean is taken."""
        weight = None if self._mean is None else weight_of(loss, batch)
        if weight is None or self._mean is None:
            return 1.0
        return weight / self._mean if self._mean > 0 else 0.0


def scaled(share: float | Mapping[str, float], factor: float) -> float | Mapping[str, float]:
    """A share, or the shares of all components, times a factor."""
    if isinstance(share, Mapping):
        return {name: value * factor for name, value in share.items()}
    return share * factor
