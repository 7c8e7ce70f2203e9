"""Several losses at once, on the scores of one forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankwright.errors import InputError, InputTypeError
from rankwright.losses.base import Loss, checked_mini_batch_size
from rankwright.losses.combining import combine_builders

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["LossTerm", "WeightedSumLoss"]


@dataclass(frozen=True)
class LossTerm:
    """One loss of a `WeightedSumLoss`.

    Attributes:
        loss: The loss.
        weight: Its factor in the sum.
        name: Under which it is logged; the name of its class without "Loss" if None.
        labels: What it sees as labels: ``"given"``, the labels of the rows; ``"first"``, 1 for the
            first document of each row and 0 for the others; or a number, 1 for documents whose
            label is at least that and 0 for the others.
    """

    loss: Loss
    weight: float = 1.0
    name: str | None = None
    labels: str | float = "given"

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Loss):
            raise InputTypeError(
                f"a LossTerm needs a rankwright.losses.Loss, found {type(self.loss).__name__}."
            )
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError(f"weight must be a number above 0, found {self.weight!r}.")
        if isinstance(self.labels, str) and self.labels not in ("given", "first"):
            raise InputError(f"labels must be 'given', 'first' or a number, found {self.labels!r}.")

    def labels_of(self, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor | None:
        """The labels its loss sees, ``(P,)``."""
        if self.labels == "given":
            return labels
        if not isinstance(self.labels, str):
            integer = self.loss.pairs.labels.integer
            kind = torch.int64 if integer else torch.float32
            return None if labels is None else (labels >= self.labels).to(kind)
        if group_sizes is None:
            raise InputError("labels='first' needs groups of documents.")
        made = torch.zeros(int(group_sizes.sum()))
        full = group_sizes[group_sizes > 0]
        made[full.cumsum(0) - full] = 1.0
        return made if labels is None else made.to(labels.device)


class WeightedSumLoss(Loss):
    """The weighted sum of several losses, all computed from one forward pass.

    Every pair is scored once, however many losses there are. The trainer logs each term, times its
    weight, under its name, so that the terms add up to ``loss``.

    =====================  ===========================  =============================
    columns                labels                       model
    =====================  ===========================  =============================
    those that all losses  those that all losses take,  what the losses need
    take                   see `LossTerm.labels`
    =====================  ===========================  =============================

    A teacher's scores together with the knowledge that the first document is relevant::

        WeightedSumLoss(model, [
            DistillKLDivLoss(model),
            LossTerm(GroupSoftmaxLoss(model), weight=0.2, labels="first"),
        ])

    With a loss that draws in-batch negatives, such as `MultipleNegativesRankingLoss`, the others
    see those negatives too, with the labels 1 and 0.

    Args:
        model: The model that all the losses were made for.
        losses: Losses, each with the weight 1, or `LossTerm`.
        mini_batch_size: Pairs scored at a time, see `Loss.mini_batch_size`; the smallest of the
            losses' own if None.

    Raises:
        InputError: No losses, losses for different models or that cannot share rows, or a name
            given twice.
        InputTypeError: Something else than losses.
    """

    num_labels_needed = None

    def __init__(
        self,
        model: CrossEncoder,
        losses: Sequence[Loss | LossTerm],
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model)
        terms = [t if isinstance(t, LossTerm) else LossTerm(t) for t in losses]
        if not terms:
            raise InputError("WeightedSumLoss needs at least one loss.")
        for term in terms:
            if getattr(term.loss, "model", None) is not model:
                raise InputError(
                    f"{type(term.loss).__name__} was made for another model than WeightedSumLoss."
                )
        self.terms = dict(zip(_names(terms), terms, strict=True))
        self.losses = nn.ModuleList(term.loss for term in terms)
        own = [t.loss.mini_batch_size for t in terms if t.loss.mini_batch_size]
        self.mini_batch_size = checked_mini_batch_size(
            min(own, default=None) if mini_batch_size is None else mini_batch_size
        )
        self.pairs = combine_builders(
            type(self).__name__, [(term.loss.pairs, term.labels) for term in terms]
        )
        cited = [entry for t in terms for entry in (t.loss.citation or "").split("\n\n") if entry]
        object.__setattr__(self, "citation", "\n\n".join(dict.fromkeys(cited)) or None)

    def compute(
        self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None
    ) -> dict[str, Tensor]:
        """The terms by name, each times its weight. See `Loss.compute`."""
        found: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            value = term.loss.compute(scores, term.labels_of(labels, group_sizes), group_sizes)
            for part, component in _flat(name, value):
                found[part] = component * term.weight
        return found

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> dict[str, float] | None:
        """The weights of the terms; None unless each can be taken apart. See `Loss.weight_of`."""
        found: dict[str, float] = {}
        for name, term in self.terms.items():
            value = term.loss.weight_of(pairs, term.labels_of(labels, group_sizes), group_sizes)
            if value is None:
                return None
            found.update(_flat(name, value))
        return found

    def check(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """See `Loss.check`; also what the losses that see the labels as given would say."""
        self.pairs(columns)
        for term in self.terms.values():
            if term.labels == "given" and type(self.pairs) is type(term.loss.pairs):
                term.loss.check(columns)

    def get_config_dict(self) -> dict[str, Any]:
        """The terms with their settings, and the mini-batch size."""
        terms = {
            name: {
                "loss": type(term.loss).__name__,
                "weight": term.weight,
                "labels": term.labels,
                **term.loss.get_config_dict(),
            }
            for name, term in self.terms.items()
        }
        return {"losses": terms, "mini_batch_size": self.mini_batch_size}


def _names(terms: Sequence[LossTerm]) -> list[str]:
    """A name for each term; those not given are numbered where they would be the same."""
    given = [term.name for term in terms if term.name is not None]
    if len(set(given)) < len(given):
        raise InputError(f"two losses have the same name: {', '.join(map(repr, given))}.")
    names: list[str] = []
    for term in terms:
        plain = type(term.loss).__name__.removesuffix("Loss")
        numbered = (plain if i == 1 else f"{plain}_{i}" for i in range(1, len(terms) + 2))
        free = (name for name in numbered if name not in given and name not in names)
        names.append(next(free) if term.name is None else term.name)
    return names


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A term's value under its name, or each of its components under a name of its own."""
    parts: Iterable[tuple[str, Any]]
    parts = value.items() if isinstance(value, Mapping) else [("", value)]
    for part, component in parts:
        yield f"{name}_{part}" if part else name, component
