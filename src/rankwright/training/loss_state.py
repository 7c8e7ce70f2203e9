"""Parameters that a loss has of its own: averaged, cleared, saved and loaded like the model's.

They are outside the model, so neither the wrapper of several processes nor transformers' loop
knows of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from rankwright.errors import TrainingError
from rankwright.training.binding import losses

__all__ = ["LOSS_FILE", "LossParameters", "load_losses", "save_losses"]

LOSS_FILE = "loss.safetensors"
"""Name of the file in a checkpoint; there is none where losses have no state."""


def save_losses(loss: Any, folder: Path) -> None:
    """Writes the state of the losses, if they have any.

    Args:
        loss: A loss, or data set -> loss.
        folder: A checkpoint.
    """
    state = _state(loss)
    if state:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()},
                  folder / LOSS_FILE)  # fmt: skip


def load_losses(loss: Any, folder: str | Path) -> None:
    """Puts a saved state back into the losses, in place.

    Raises:
        TrainingError: The checkpoint was written with other losses.
    """
    path = Path(folder) / LOSS_FILE
    state = _state(loss)
    saved = load_file(path) if path.is_file() else {}
    different = sorted(saved.keys() ^ state.keys())
    if different:
        raise TrainingError(
            f"{path}: the state of the loss does not fit: {different[0]} is "
            f"{'only in the checkpoint' if different[0] in saved else 'not in the checkpoint'}. "
            "Resume with the same loss, and the same data sets, as the run that wrote it."
        )
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(saved[name])


def _state(loss: Any) -> dict[str, Tensor]:
    return {
        ".".join(part for part in (name, key) if part): value
        for name, one in losses(loss)
        for key, value in one.state_dict(keep_vars=True).items()
    }


class LossParameters(TrainerCallback):
    """Looks after the gradients of the losses' own parameters.

    Args:
        loss: Gives the loss, or data set -> loss; it may be another one in every trial.
        processes: How many train together.
    """

    def __init__(self, loss: Callable[[], Any], processes: int) -> None:
        self._loss = loss
        self._processes = processes

    def _parameters(self) -> list[Tensor]:
        return [p for _, one in losses(self._loss()) for p in one.parameters() if p.requires_grad]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The mean of all processes, as the model's gradients are."""
        if self._processes == 1:
            return
        for parameter in self._parameters():
            # A process whose batch had nothing for this loss has no gradient.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self._processes

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Clears them: transformers clears the model's only."""
        for parameter in self._parameters():
            parameter.grad = None
