"""How `CrossEncoderTrainer` saves and loads: checkpoints that count only when complete."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rankwright.training.checkpoints import discard, mark_complete, rotate, set_aside
from rankwright.training.loss_state import load_losses, save_losses
from rankwright.training.pushing import PushingTrainer
from rankwright.training.sharding import ShardingTrainer
from rankwright.training.weights import load_weights

__all__ = ["CheckpointingTrainer"]

logger = logging.getLogger(__name__)


class CheckpointingTrainer(ShardingTrainer, PushingTrainer):
    """transformers' Trainer, with whole model folders, and with the losses' own parameters."""

    # What transformers sets; its types change from release to release.
    args: Any
    model: Any
    state: Any
    control: Any

    loss: Any
    """The loss, or data set -> loss."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_dir = Path(self._get_output_dir(trial=trial))
        path = run_dir / f"checkpoint-{self.state.global_step}"
        writer = self.args.should_save
        aside = set_aside(path) if writer else None
        self.accelerator.wait_for_everyone()
        # transformers would remove old checkpoints before this one is complete.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if writer:
            save_losses(self.loss, path)
            mark_complete(path, self.state.global_step)
            if aside is not None:
                discard(aside)
        self._push_held()
        if writer:
            rotate(run_dir, limit, self.state.best_model_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(self.args.output_dir if output_dir is None else output_dir)
        # A card describes a finished model; making one for every checkpoint takes longer than
        # saving the weights.
        is_checkpoint = folder.name.startswith("checkpoint-")
        self.model.save_pretrained(str(folder), create_model_card=not is_checkpoint)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes the model's own card; transformers' card knows nothing of rerankers."""
        self.model.save_card(self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights((self.model if model is None else model).model, resume_from_checkpoint)
        load_losses(self.loss, resume_from_checkpoint)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # transformers looks at max_steps after a step, so it would train a finished run by one more
        # step for each time that it is resumed, unless the last step ended an epoch.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _load_best_model(self) -> None:
        logger.info(
            "Loading the best model, %s (%s).",
            *(self.state.best_model_checkpoint, self.state.best_metric),
        )
        with self.whole_weights():
            load_weights(self.model.model, self.state.best_model_checkpoint)
        load_losses(self.loss, self.state.best_model_checkpoint)
