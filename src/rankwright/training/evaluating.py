"""How `CrossEncoderTrainer` evaluates: the loss on held-out rows, and the evaluators' metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from transformers import Trainer

from rankwright.training.data import quiet_fork
from rankwright.training.evaluators import EvaluationPoint, run_evaluators
from rankwright.training.setup import unwrapped_after

__all__ = ["EvaluatingTrainer"]


class EvaluatingTrainer(Trainer):
    """transformers' Trainer, with evaluators beside the evaluation loss."""

    # What transformers sets; its types change from release to release.
    args: Any
    model: Any
    state: Any
    control: Any

    evaluators: list[Any]
    """Called whenever an evaluation is due."""

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The loss on the evaluation data and the metrics of the evaluators.

        With several processes the loss is approximate unless all their batches are full, because
        accelerate fills the last ones with rows from the start; metrics come from the first
        process and are exact.

        Returns:
            Metrics, each name preceded by ``metric_key_prefix``.
        """
        with quiet_fork(self.args.dataloader_num_workers), unwrapped_after(self):
            if eval_dataset is not None or self.eval_dataset is not None or not self.evaluators:
                found: dict[str, float] = super().evaluate(
                    eval_dataset, ignore_keys, metric_key_prefix
                )
                return found
            metrics = self._run_evaluators(metric_key_prefix)
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, metrics
            )
            return metrics

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """transformers' loop over batches, then the evaluators."""
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if description == "Evaluation" and self.evaluators:
            output.metrics.update(self._run_evaluators(metric_key_prefix))
        return output

    def _run_evaluators(self, prefix: str) -> dict[str, float]:
        self.model.eval()
        folder = Path(self.args.output_dir) / "eval"
        point = EvaluationPoint(folder, self.state.epoch or 0.0, self.state.global_step)
        found: dict[str, Any] | None = None
        if self.is_world_process_zero():
            found = run_evaluators(self.evaluators, self.model, point)
        if self.args.world_size > 1:
            found = broadcast_object_list([found])[0]
        assert found is not None
        return {
            name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value
            for name, value in found.items()
        }
