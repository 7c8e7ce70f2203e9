"""Telling the user how many pairs were cut."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

__all__ = ["TruncationReport"]

logger = logging.getLogger(__name__)


class TruncationReport(TrainerCallback):
    """Counts the training pairs that were longer than the maximum and reports them at the end."""

    def __init__(self) -> None:
        self.pairs = 0
        self.truncated = 0

    def count(self, inputs: Mapping[str, Tensor]) -> None:
        """Takes note of one batch."""
        self.pairs += inputs["lengths"].numel()
        cut = inputs.get("truncated")
        self.truncated += 0 if cut is None else int(cut)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts counting anew."""
        self.pairs = self.truncated = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One line in the log."""
        if self.truncated == 0:
            logger.info("None of the %d training pairs was truncated.", self.pairs)
            return
        logger.warning(
            "%d of %d training pairs (%.1f %%) were longer than the model's max_length and lost "
            "tokens. Set a larger max_length, or split long documents.",
            *(self.truncated, self.pairs, 100 * self.truncated / self.pairs),
        )
