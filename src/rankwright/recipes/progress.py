"""A training progress bar on standard error, so that standard output stays for results."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

__all__ = ["TrainingBar", "use_training_bar"]

logger = logging.getLogger(__name__)


class TrainingBar(TrainerCallback):
    """Counts optimiser steps and shows the latest loss; logs everything at DEBUG."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the bar where training starts or resumes."""
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="Training",
            unit="step",
            file=sys.stderr,
            disable=not self._shown,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step further."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The latest loss."""
        logger.debug("step %d: %s", state.global_step, logs)
        if self._bar is not None and logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()


def use_training_bar(trainer: Trainer, shown: bool | None) -> None:
    """Puts our bar in place of transformers' callbacks, which print to standard output.

    Args:
        trainer: The trainer.
        shown: Whether to show it; None shows it when logging is at INFO or lower.
    """
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(TrainingBar(logger.isEnabledFor(logging.INFO) if shown is None else shown))
