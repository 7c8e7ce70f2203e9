"""How `CrossEncoderTrainer` evaluates: the loss on held-out rows, and the evaluators' metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_utils import speed_metrics

from rankwright.evaluation import evaluate_in_first
from rankwright.training.components import LossComponents, gatherer
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

    _losses: list[tuple[Tensor, float]]

    loss_components: LossComponents
    """Averages of the components of the loss."""

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The loss on the evaluation data and the metrics of the evaluators.

        With several processes the loss is approximate unless all their batches are full, because
        accelerate fills the last ones with rows from the start. Evaluators run in the first
        process, and the scoring within them in all (`evaluate_in_first`); their metrics are exact.

        The loss is that of all rows together, whatever the batch size, where it is a mean over
        queries or pairs; otherwise the mean over batches, weighted by their rows.

        Args:
            eval_dataset: Data, or the name of one of the trainer's data sets; None for all of the
                trainer's own.
            ignore_keys: Not used.
            metric_key_prefix: Put before the name of every metric.

        Returns:
            Metrics: ``eval_loss``, or ``eval_{name}_loss`` for each of several data sets, and
            those of the evaluators.
        """
        with quiet_fork(self.args.dataloader_num_workers), unwrapped_after(self):
            data = self.eval_dataset if eval_dataset is None else eval_dataset
            if isinstance(data, Mapping):
                return self._evaluate_each(data, metric_key_prefix)
            if eval_dataset is not None or self.eval_dataset is not None or not self.evaluators:
                found: dict[str, float] = super().evaluate(
                    eval_dataset, ignore_keys, metric_key_prefix
                )
                return found
            metrics = self.run_evaluators(metric_key_prefix)
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
        self._losses = []
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        gather = gatherer(self.args.world_size) or list
        found = gather([(float(value), weight) for value, weight in self._losses])
        whole = sum(weight for _, weight in found)
        if whole > 0:
            output.metrics[f"{metric_key_prefix}_loss"] = sum(v * w for v, w in found) / whole
        averages = self.loss_components.averages("eval", gatherer(self.args.world_size))
        for name, value in averages.items():
            output.metrics[f"{metric_key_prefix}_{name}"] = value
        if description == "Evaluation" and self.evaluators:
            output.metrics.update(self.run_evaluators(metric_key_prefix))
        return output

    def _weigh(self, loss: Tensor, weight: float) -> None:
        """Takes note of the loss of a batch of evaluation data, and of how much it counts."""
        self._losses.append((loss, weight))

    def _evaluate_each(self, data: Mapping[str, Any], prefix: str) -> dict[str, float]:
        """The loss on each of several data sets, then the evaluators, once."""
        metrics: dict[str, float] = {}
        for name, dataset in data.items():
            start = time.time()
            loader = self.get_eval_dataloader({name: dataset})
            own = f"{prefix}_{name}"
            output = self.evaluation_loop(loader, f"Evaluation on {name}", True, None, own)
            batch_size = self.args.eval_batch_size * self.args.world_size
            steps = -(-output.num_samples // batch_size)
            metrics |= output.metrics | speed_metrics(own, start, output.num_samples, steps)
        if self.evaluators:
            metrics |= self.run_evaluators(prefix)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """transformers' log, with the components of the training loss beside their sum."""
        if "loss" in logs:
            logs |= self.loss_components.averages("train", gatherer(self.args.world_size))
        super().log(logs, start_time)

    def run_evaluators(self, prefix: str = "eval") -> dict[str, float]:
        """The metrics of the evaluators alone, ``prefix`` in front; nothing is logged."""
        self.model.eval()
        # Each trial of a search has a folder of its own.
        folder = Path(self._get_output_dir(trial=getattr(self, "_trial", None))) / "eval"
        point = EvaluationPoint(folder, self.state.epoch or 0.0, self.state.global_step)
        found = evaluate_in_first(
            self.model, lambda: run_evaluators(self.evaluators, self.model, point)
        )
        return {
            name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value
            for name, value in found.items()
        }
