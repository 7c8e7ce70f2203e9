"""Pushing a training to the hub: the whole model folder, not only transformers' part of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import Trainer

from rankwright.training.checkpoints import MARKER
from rankwright.training.loss_state import LOSS_FILE

__all__ = ["PushingTrainer"]

_OF_TRAINING = (
    MARKER,
    LOSS_FILE,
    "optimizer.*",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*.pth",
    "trainer_state.json",
    "training_args.bin",
)
"""Files of a checkpoint that do not belong to the model."""


class PushingTrainer(Trainer):
    """transformers' Trainer, with ``push_to_hub`` for every reader of rerankers."""

    args: Any
    _held: str | None = None

    def _push_held(self) -> None:
        """Pushes the checkpoint that has just been completed, if it is to be pushed."""
        held, self._held = self._held, None
        if held is not None:
            self._push_from_checkpoint(held)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not (Path(checkpoint_folder) / MARKER).is_file():
            self._held = checkpoint_folder  # until it is complete, so that it can be resumed from
            return
        if self.is_world_process_zero() and self.args.hub_strategy != "end":
            copy_model(Path(checkpoint_folder), Path(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)


def copy_model(checkpoint: Path, folder: Path) -> None:
    """Copies what belongs to the model, such as its scoring contract, out of a checkpoint.

    Args:
        checkpoint: Where from.
        folder: Where to; files of the same names are replaced.
    """
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and not any(file.match(pattern) for pattern in _OF_TRAINING):
            shutil.copy2(file, folder / file.name)
