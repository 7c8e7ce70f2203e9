"""How `CrossEncoderTrainer` makes a step: passes over one packed batch, loss and gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from rankwright.engine.batch import PackedBatch
from rankwright.errors import TrainingError
from rankwright.losses.base import Loss
from rankwright.losses.segments import as_real
from rankwright.training.binding import loss_of
from rankwright.training.chunks import score_in_parts, share_out
from rankwright.training.collator import PackedInputs
from rankwright.training.components import LossComponents, gatherer
from rankwright.training.guards import CollapseWatch
from rankwright.training.leaks import LeakWatch
from rankwright.training.truncation import TruncationReport
from rankwright.training.two_passes import Part, first_pass
from rankwright.training.windows import Window, scaled

__all__ = ["SteppingTrainer"]


class SteppingTrainer(Trainer):
    """transformers' Trainer, with steps that score all pairs of a packed batch at once.

    A step larger than memory allows is worked through in parts, with the gradient of the whole.
    """

    # What transformers sets; its types change from release to release.
    args: Any
    state: Any

    loss: Any
    """The loss, or data set -> loss."""

    collapse: CollapseWatch
    leaks: LeakWatch
    loss_components: LossComponents
    _truncation: TruncationReport

    _part: Part | None = None
    _share: float | Mapping[str, float] = 1.0
    _window = Window({}, [])

    def _prepare_inputs(self, inputs: PackedInputs) -> PackedInputs:
        return inputs.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: PackedInputs,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of one packed batch: one forward pass, one pure function.

        Returns:
            A scalar; with ``return_outputs`` also the ``(P,)`` or ``(P, num_labels)`` scores.
        """
        if self._part is not None:
            with self.accelerator.autocast():
                return self._part.loss(model)
        batch = PackedBatch.from_dict(inputs)
        objective = loss_of(self.loss, inputs)
        most = objective.mini_batch_size or batch.num_pairs
        with self.accelerator.autocast():
            whole = batch.num_pairs <= most
            scores: Tensor = model(batch) if whole else score_in_parts(model, batch, most)
        loss = self._judged(objective, scores, batch)
        return (loss, scores) if return_outputs else loss

    def _judged(self, objective: Loss, scores: Tensor, batch: PackedBatch) -> Tensor:
        found = objective.compute(as_real(scores), batch.labels, batch.group_sizes)
        total = self.loss_components.total(found, self._share)
        if self.model.training:
            self.collapse.saw_scores(objective, scores, batch.labels, batch.group_sizes, found)
        return total

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the next optimiser step."""
        samples, items = super().get_batch_samples(*args, **kwargs)
        self._window = Window(self.loss, samples, gatherer(self.args.world_size))
        return samples, items

    def training_step(self, model: nn.Module, inputs: PackedInputs, *args: Any) -> Tensor:
        """One forward and backward pass.

        Raises:
            TrainingError: The loss is not a finite number. The weights have not been touched.
        """
        self._truncation.count(inputs)
        self.leaks.count(inputs)
        self.loss_components.discard()
        loss = self._training_passes(model, inputs, *args)
        self.loss_components.close("train")
        self.collapse.step_done()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is {float(loss)} at step {self.state.global_step + 1}. Lower the "
                "learning rate, lengthen the warm-up, or train in float32 or bf16 rather than "
                "fp16; check that labels and teacher scores are sensible. The newest complete "
                f"checkpoint in {self.args.output_dir} is unharmed."
            )
        return loss

    def _training_passes(self, model: nn.Module, inputs: PackedInputs, *args: Any) -> Tensor:
        batch = PackedBatch.from_dict(inputs)
        most = self.args.max_tokens_per_pass or (4096 if self.args.device.type == "cpu" else 65_536)
        objective = loss_of(self.loss, inputs)
        parts = share_out(batch, objective, most, objective.mini_batch_size)
        factor = self._window.factor(objective, batch)
        total: Tensor = torch.zeros((), device=self.args.device)
        for number, (part, share) in enumerate(parts, start=1):
            # Several processes add up their gradients once per step, not once per part.
            last = number == len(parts)
            self._share = scaled(share, factor)
            many = part.num_pairs > (objective.mini_batch_size or part.num_pairs)
            if self.args.world_size > 1 and many:
                total += self._two_passes(model, inputs.part(part), last, *args)
                continue
            with contextlib.nullcontext() if last else self._alone(model):
                total += super().training_step(model, inputs.part(part), *args)
        self._share = 1.0
        return total

    def _two_passes(self, model: nn.Module, inputs: PackedInputs, last: bool, *args: Any) -> Tensor:
        """See `rankwright.training.two_passes`."""
        model.train()
        objective = loss_of(self.loss, inputs)
        batch = PackedBatch.from_dict(self._prepare_inputs(inputs))
        own = [p for p in objective.parameters() if p.requires_grad]
        with self.accelerator.autocast():
            loss, parts = first_pass(
                model,
                batch,
                objective.mini_batch_size or batch.num_pairs,
                (lambda scores: self._judged(objective, scores, batch), own),
            )
        try:
            for self._part in parts:
                done = last and self._part is parts[-1]
                with contextlib.nullcontext() if done else self._alone(model):
                    super().training_step(model, inputs.part(self._part.batch), *args)
        finally:
            self._part = None
        steps: int = self.current_gradient_accumulation_steps
        return loss / steps

    def _alone(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        return self.accelerator.no_sync(model)  # type: ignore[no-any-return]

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        self.collapse.saw_gradient(norm)
        # With fp16 the scaler expects such gradients, skips the step and lowers its scale.
        if self.accelerator.scaler is None and not bool(torch.isfinite(torch.as_tensor(norm))):
            raise TrainingError(
                f"the gradient is {float(norm)} at step {self.state.global_step + 1}, although the "
                "loss is finite. Lower the learning rate or train in float32; the weights have "
                "not been touched by this step."
            )
        return norm

    def prediction_step(
        self,
        model: nn.Module,
        inputs: PackedInputs,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The loss of one batch without gradients; scores and labels too if asked for."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            loss, scores = self.compute_loss(model, inputs, return_outputs=True)
        if not bool(torch.isfinite(loss)):
            broken = int((~torch.isfinite(scores)).sum())
            raise TrainingError(
                f"the evaluation loss is {float(loss)} at step {self.state.global_step}; {broken} "
                f"of {scores.numel()} scores are not finite numbers. "
                + (
                    "The weights are broken, or half precision is too narrow for them: "
                    "lower the learning rate, or use float32 or bf16."
                    if broken
                    else "Check the labels of eval_dataset."
                )
            )
        rows = float(inputs["row_pairs"].numel())
        self.loss_components.close("eval", rows)
        batch = PackedBatch.from_dict(inputs)
        weight = loss_of(self.loss, inputs).weight_of(
            batch.num_pairs, batch.labels, batch.group_sizes
        )
        self._weigh(loss.detach(), float(weight) if isinstance(weight, int | float) else rows)
        if prediction_loss_only:
            return loss.detach(), None, None
        return loss.detach(), scores.detach(), inputs.get("labels")
