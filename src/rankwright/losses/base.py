"""`Loss`: the base of all losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from rankwright.errors import InputError
from rankwright.losses.pairs import PairBuilder

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["Loss"]


class Loss(nn.Module):
    """A number that says how wrong the scores of a batch are.

    A loss is a pure function of scores, labels and group sizes. It does not tokenise and does
    not call the model: the collator makes the pairs (`pairs` says how), the trainer scores all
    of them in one forward pass and hands the scores over.

    Subclasses set `pairs`, implement `compute` and say what they take in `num_labels_needed`.

    Args:
        model: The model to be trained. Only its number of labels is looked at; it is not
            registered as a sub-module.

    Raises:
        InputError: The model has a number of labels this loss cannot work with.
    """

    citation: ClassVar[str | None] = None
    """BibTeX of the paper, for model cards."""

    num_labels_needed: ClassVar[int | None] = 1
    """How many labels the model must have; None for any number."""

    pairs: PairBuilder
    """How rows become pairs."""

    mini_batch_size: int | None = None
    """Most pairs in one forward pass; None sets no such limit. The loss and its gradients are those
    of one pass over the whole step, and memory is bounded by the mini-batch.

    Where the loss can be taken apart (`weight_of`), whole groups share a pass, which costs nothing.
    Groups larger than the mini-batch, and all groups of other losses, are scored twice: once for
    their scores, once more, part by part and with the same dropout, for the gradients."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        # Past nn.Module's bookkeeping: the model's parameters are not the loss's.
        object.__setattr__(self, "model", model)
        needed = self.num_labels_needed
        if needed is not None and model.num_labels != needed:
            raise InputError(
                f"{type(self).__name__} needs a model with num_labels={needed}, but this model "
                f"has num_labels={model.num_labels}. Load it with num_labels={needed}, or choose "
                "a loss for several labels, such as CrossEntropyLoss."
            )

    def compute(
        self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None
    ) -> Tensor | Mapping[str, Tensor]:
        """The loss of one batch.

        Args:
            scores: ``(P,)`` raw logits, or ``(P, num_labels)`` for several labels.
            labels: ``(P,)`` labels, or None.
            group_sizes: ``(Q,)`` int64 pairs per query, on the CPU; None for lone pairs.

        Returns:
            A scalar, or a dict of named scalars: their sum is trained on, and the trainer logs
            each under its name.
        """
        raise NotImplementedError

    def weight_of(
        self, pairs: int, labels: Tensor | None, group_sizes: Tensor | None
    ) -> float | Mapping[str, float] | None:
        """How much this batch counts when a larger one is computed in parts.

        The loss of the whole must be the weighted mean of its parts' losses, whichever way whole
        groups (or, without groups, pairs) are shared out. Then training can go through a large
        step part by part, each with its own backward pass, at no cost.

        Args:
            pairs: P.
            labels: As in `compute`.
            group_sizes: As in `compute`.

        Returns:
            A number of at least 0, or one per component where `compute` returns components;
            None, the default, if the loss cannot be taken apart so.
        """
        return None

    def forward(
        self, scores: Tensor, labels: Tensor | None = None, group_sizes: Tensor | None = None
    ) -> Tensor | Mapping[str, Tensor]:
        """The same as `compute`."""
        return self.compute(scores, labels, group_sizes)

    def check(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Raises what `pairs` would raise on these rows, so that mistakes show before training.

        Args:
            columns: A few rows: column name -> one value per row.
        """
        self.pairs(columns)

    def get_config_dict(self) -> dict[str, Any]:
        """Its settings as plain values, for model cards and logs."""
        return {}


def checked_mini_batch_size(value: int | None) -> int | None:
    """``value``; None and numbers below 1, by which programs mean "all pairs", give None."""
    return value if value is not None and value > 0 else None


def checked_positive(name: str, value: float) -> float:
    """``value``, which must be a finite number above 0; else `InputError`."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a number above 0, found {value!r}.")
    return value


def taken_reduction(loss: str, kwargs: dict[str, Any], options: str) -> str:
    """``reduction`` out of ``kwargs``, in which nothing else may be left.

    Args:
        loss: Name of the loss, for messages.
        kwargs: Emptied.
        options: The other options of the loss, for messages.

    Raises:
        InputError: Unknown options, or a reduction other than "mean" and "sum".
    """
    reduction = kwargs.pop("reduction", "mean")
    if kwargs or reduction not in ("mean", "sum"):
        given = ", ".join(kwargs) or f"reduction={reduction!r}"
        raise InputError(
            f"{loss} does not know the option {given}; it takes {options} and reduction "
            "('mean' or 'sum')."
        )
    return str(reduction)


def grouped(loss: Loss, labels: Tensor | None, group_sizes: Tensor | None) -> tuple[Tensor, Tensor]:
    """``labels`` and ``group_sizes``, neither of which may be None; else `InputError`."""
    if labels is None or group_sizes is None:
        raise InputError(f"{type(loss).__name__} needs labels and group sizes.")
    return labels, group_sizes


def activation_of(activation: nn.Module | None) -> nn.Module:
    """``activation``; what leaves scores as they are if None."""
    return nn.Identity() if activation is None else activation


def function_name(activation: nn.Module) -> str:
    """Dotted name of an activation's class, as configurations write it."""
    return f"{type(activation).__module__}.{type(activation).__name__}"
