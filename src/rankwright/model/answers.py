"""What `predict`, `score` and `rank` do alike in every class that scores; needs no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rankwright.errors import InputError
from rankwright.model.scored import Floats

__all__ = ["Form", "checked_batch_size", "in_form", "shows_progress"]

logger = logging.getLogger("rankwright")


@dataclass(frozen=True)
class Form:
    """The form in which a caller of ``predict`` wants scores.

    Attributes:
        numpy: As an array, unless ``tensor`` is set. If both are False: a list of tensors.
        tensor: As one tensor.
        single: Without the first dimension, because one pair was given and not a list.
    """

    numpy: bool
    tensor: bool
    single: bool


def in_form(scores: Floats, form: Form, to_tensor: Callable[[Floats], Any]) -> Any:
    """The scores as ``predict`` returns them.

    Args:
        scores: ``(P,)`` or ``(P, num_labels)`` float32.
        form: What the caller asked for.
        to_tensor: Makes a torch tensor of an array; only called if one is asked for.
    """
    found: Any = scores
    if form.tensor:
        found = to_tensor(scores)
    elif not form.numpy:
        found = list(to_tensor(scores))
    return found[0] if form.single else found


def checked_batch_size(value: Any) -> int | None:
    """``value``, if it is None or a number of pairs.

    Raises:
        InputError: Neither.
    """
    if value is not None and (not isinstance(value, int) or value < 1):
        raise InputError(f"batch_size={value!r}; expected at least 1, or None.")
    return value


def shows_progress(asked: bool | None) -> bool:
    """Whether to show a progress bar; if nobody said so, whether this library logs at INFO."""
    return logger.getEffectiveLevel() <= logging.INFO if asked is None else asked
