"""`MiningOptions`: which candidates may become negatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from rankwright.errors import InputError

__all__ = ["MiningOptions", "SamplingStrategy"]

SamplingStrategy = Literal["top", "random"]


@dataclass(frozen=True)
class MiningOptions:
    """Which candidates may become negatives, and how many do.

    Attributes:
        num_negatives: Negatives per query.
        range_min: How many of the best candidates are passed over, after positives and
            filtered candidates are gone.
        range_max: Where the ranks stop; None: see `window`.
        max_score: Candidates above it are removed.
        min_score: Candidates below it are removed.
        absolute_margin: Least distance of a negative's score below the lowest positive's.
        relative_margin: The same as a fraction of that positive's magnitude; 0.05 is the
            setting that did best in NV-Retriever (arXiv:2407.15831).
        sampling_strategy: "top" for the best candidates left, "random" for a random choice.
        seed: Of the random choice.

    Raises:
        InputError: A value that cannot be used.
    """

    num_negatives: int = 3
    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    sampling_strategy: SamplingStrategy = "top"
    seed: int = 12

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise InputError(f"num_negatives must be at least 1, but is {self.num_negatives}.")
        if self.range_min < 0:
            raise InputError(f"range_min must be 0 or more, but is {self.range_min}.")
        if self.sampling_strategy not in get_args(SamplingStrategy):
            raise InputError(
                f"sampling_strategy={self.sampling_strategy!r} is not known. Choose one of: "
                f"{', '.join(get_args(SamplingStrategy))}."
            )
        for name in ("max_score", "min_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} must be a finite number or None, but is {value}.")
        if self.range_max is not None and self.num_negatives > self.range_max - self.range_min:
            raise InputError(
                f"Cannot mine {self.num_negatives} negatives from ranks range_min="
                f"{self.range_min} to range_max={self.range_max}. Decrease num_negatives or "
                "range_min, or increase range_max."
            )

    @property
    def needs_positive_scores(self) -> bool:
        """Whether a margin is set."""
        return self.absolute_margin is not None or self.relative_margin is not None

    def window(self, max_positives: int, rescored: bool = False) -> int:
        """``range_max``, or its default.

        The default leaves room for what will be removed: ``range_min + num_negatives`` and the
        positives, with ten times ``num_negatives`` when a margin or ``max_score`` is set, or
        ``min_score`` together with rescoring.

        Args:
            max_positives: The largest number of positives of any query.
            rescored: Whether a cross-encoder replaces the scores.
        """
        if self.range_max is not None:
            return self.range_max
        filters = (self.absolute_margin, self.relative_margin, self.max_score)
        filtered = any(value is not None for value in filters)
        filtered = filtered or (rescored and self.min_score is not None)
        wanted = self.num_negatives * (10 if filtered else 1)
        return self.range_min + wanted + max_positives
