"""Losses that are a sum of named components: what is trained on, and what is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from rankwright.errors import InputError

__all__ = ["LossComponents"]

_TAKEN = frozenset({"loss", "grad_norm", "learning_rate", "epoch", "step"})
"""Names under which the trainer logs figures of its own."""


class LossComponents:
    """Adds the components of a loss up, and keeps their averages between two logs.

    A loss may return one tensor, or a dict of named ones. Their sum is trained on; each is
    averaged apart, over the micro-batches since the last log. Averages of training and of
    evaluation are kept apart, and nothing waits for a GPU before it is logged.
    """

    def __init__(self) -> None:
        self._current: dict[str, Tensor] = {}
        self._sums: dict[str, dict[str, tuple[Tensor, float]]] = {"train": {}, "eval": {}}

    def total(
        self, loss: Tensor | Mapping[str, Tensor], share: float | Mapping[str, float] = 1.0
    ) -> Tensor:
        """The scalar to train on.

        Args:
            loss: What the loss returned for a part of a micro-batch.
            share: The part's share in the loss of the micro-batch; one number, or one per
                component.

        Raises:
            InputError: No components at all, or one with the name of a figure of the trainer.
        """
        if isinstance(loss, Tensor):
            assert not isinstance(share, Mapping)
            return loss * share
        if not loss or not _TAKEN.isdisjoint(loss):
            raise InputError(
                f"the loss returned components called {', '.join(map(repr, loss)) or 'nothing'}; "
                f"return at least one, and none called {', '.join(sorted(_TAKEN))}."
            )
        parts = {
            name: value * (share[name] if isinstance(share, Mapping) else share)
            for name, value in loss.items()
        }
        for name, part in parts.items():
            before = self._current.get(name)
            self._current[name] = part.detach() if before is None else before + part.detach()
        return torch.stack([part.reshape(()) for part in parts.values()]).sum()

    def close(self, kind: str, weight: float = 1.0) -> None:
        """Counts the micro-batch whose parts were added up since the last call.

        Args:
            kind: ``"train"`` or ``"eval"``.
            weight: How much it counts in the average.
        """
        sums = self._sums[kind]
        for name, value in self._current.items():
            total, weights = sums.get(name, (torch.zeros_like(value), 0.0))
            sums[name] = (total + value * weight, weights + weight)
        self._current = {}

    def discard(self) -> None:
        """Forgets parts that belong to no micro-batch, because of an error in its midst."""
        self._current = {}

    def averages(
        self, kind: str, gather: Callable[[Any], list[Any]] | None = None
    ) -> dict[str, float]:
        """The averages since the last call, which then start afresh.

        Args:
            kind: ``"train"`` or ``"eval"``.
            gather: With several processes, what makes one list of all their lists; every process
                must call this then.
        """
        found = [(name, float(s), w) for name, (s, w) in self._sums[kind].items()]
        self._sums[kind] = {}
        sums: dict[str, list[float]] = {}
        for name, total, weight in found if gather is None else gather(found):
            entry = sums.setdefault(name, [0.0, 0.0])
            entry[0] += total
            entry[1] += weight
        return {name: total / weight for name, (total, weight) in sums.items() if weight > 0}


def gatherer(processes: int) -> Callable[[Any], list[Any]] | None:
    """What `LossComponents.averages` needs with this many processes."""
    return gather_object if processes > 1 else None
