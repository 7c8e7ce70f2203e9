"""Several micro-batches, in turn or in several processes, as one larger batch.

transformers takes the mean of the micro-batches' losses, which is the loss of all their rows
only if each counts alike. Queries with longer lists, or an incomplete last batch, count
differently. `Loss.weight_of` says by how much, so the mean can be made exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rankwright.engine.batch import PackedBatch
from rankwright.losses.base import Loss

__all__ = ["Factor", "Window", "scaled"]

Factor = float | Mapping[str, float]
"""One number, or one per component for a loss that has components."""

_WHOLE = ""
"""Stands for the one component of a loss without components."""


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
        gather: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        self._means: dict[str, float] | None = None
        if isinstance(loss, Mapping):
            return
        found = [_weights(loss, PackedBatch.from_dict(sample)) for sample in samples]
        if gather is not None:
            found = gather(found)
        told = [weights for weights in found if weights is not None]
        if told and len(told) == len(found):
            self._means = {
                name: sum(weights[name] for weights in told) / len(told) for name in told[0]
            }

    def factor(self, loss: Loss, batch: PackedBatch) -> Factor:
        """What to multiply the loss of one of the micro-batches by before the mean is taken."""
        weights = None if self._means is None else _weights(loss, batch)
        if weights is None or self._means is None:
            return 1.0
        factors = {
            name: weights[name] / mean if mean > 0 else 0.0 for name, mean in self._means.items()
        }
        return factors.get(_WHOLE, factors)


def _weights(loss: Loss, batch: PackedBatch) -> Mapping[str, float] | None:
    """How much a batch counts, for each component; None where the loss does not say."""
    found = loss.weight_of(batch.num_pairs, batch.labels, batch.group_sizes)
    if found is None or isinstance(found, Mapping):
        return found
    return {_WHOLE: float(found)}


def scaled(share: Factor, factor: Factor) -> Factor:
    """A share, or the shares of all components, times a factor or the factor of each."""
    if not isinstance(share, Mapping) and not isinstance(factor, Mapping):
        return share * factor
    names = share if isinstance(share, Mapping) else factor
    assert isinstance(names, Mapping)
    return {name: _of(share, name) * _of(factor, name) for name in names}


def _of(factor: Factor, name: str) -> float:
    return factor[name] if isinstance(factor, Mapping) else factor
