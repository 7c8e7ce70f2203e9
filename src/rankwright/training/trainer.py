"""`CrossEncoderTrainer`: transformers' Trainer with one packed forward pass per step."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rankwright.engine.allocator import keep_freed_memory
from rankwright.engine.batch import PackedBatch
from rankwright.errors import InputError, InputTypeError, TrainingError
from rankwright.losses.base import Loss
from rankwright.training.arguments import CrossEncoderTrainingArguments
from rankwright.training.card import describe_run
from rankwright.training.checkpoints import (
    discard,
    mark_complete,
    rotate,
    set_aside,
    starting_point,
)
from rankwright.training.chunks import score_in_parts, share_out
from rankwright.training.collator import PackedInputs, PackingCollator
from rankwright.training.data import as_dataset, check_dataset, make_loader, quiet_fork
from rankwright.training.evaluating import EvaluatingTrainer
from rankwright.training.evaluators import as_evaluators
from rankwright.training.optimizer import parameter_groups
from rankwright.training.setup import (
    build_loss,
    check_options,
    prompt_of,
    recomputing,
    unwrapped_after,
)
from rankwright.training.truncation import TruncationReport
from rankwright.training.weights import load_weights

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rankwright.model import CrossEncoder

__all__ = ["CrossEncoderTrainer"]

logger = logging.getLogger(__name__)


class CrossEncoderTrainer(EvaluatingTrainer):
    """Trains a `CrossEncoder`.

    The collator turns rows into one packed batch (in dataloader workers, if there are any), the
    model scores all pairs of the step in one forward pass, and the loss is computed from the
    flat scores. Data can be streamed. Checkpoints count only when complete, and resuming from
    one gives bit for bit the weights of the run that was never interrupted.

    Args:
        model: The model to train; it is changed in place.
        args: Settings; all defaults, writing to ``tmp_trainer``, if None.
        train_dataset: A `datasets.Dataset`, `datasets.IterableDataset` (with ``max_steps``) or
            list of dicts. The first text column is the query; the loss says what else it takes.
        eval_dataset: The same, for the loss on held-out data.
        loss: A loss, or a class or function that makes one from the model. By default
            `BinaryCrossEntropyLoss` for one label, else ``CrossEntropyLoss``.
        evaluator: One evaluator or several, called as
            ``evaluator(model, output_path=, epoch=, steps=)`` whenever an evaluation is due.
            Their metrics appear as ``eval_...``, their files in ``{output_dir}/eval/``.
        data_collator: In place of `PackingCollator`; must return what that one returns.
        processing_class: The tokenizer; the model's own if None.
        model_init: Makes the model instead of ``model``, for searches over hyperparameters.
        compute_metrics: Not used: metrics come from evaluators. Passing it logs a warning.
        callbacks: transformers' callbacks, such as ``EarlyStoppingCallback``.
        optimizers: Optimizer and scheduler, in place of those the arguments ask for.
        optimizer_cls_and_kwargs: Class and options of the optimizer.
        preprocess_logits_for_metrics: Not used, like ``compute_metrics``.
        tokenizer: Old name of ``processing_class``.

    Raises:
        InputError: Contradictory or unavailable settings.
        DataError: Data that the loss cannot use, found in the first rows.
    """

    # What transformers sets; its types change from release to release.
    args: Any
    model: Any
    state: Any
    control: Any
    optimizer: Any
    processing_class: Any

    def __init__(
        self,
        model: CrossEncoder | None = None,
        args: CrossEncoderTrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Loss | Callable[[CrossEncoder], Loss] | None = None,
        evaluator: Any = None,
        data_collator: Callable[[list[Any]], PackedInputs] | None = None,
        processing_class: Any = None,
        model_init: Callable[[], CrossEncoder] | None = None,
        compute_metrics: Callable[..., Any] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[..., Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        if compute_metrics is not None or preprocess_logits_for_metrics is not None:
            logger.warning(
                "compute_metrics is not used: a reranker is judged by ranked lists. Pass an "
                "evaluator instead, such as CrossEncoderRerankingEvaluator."
            )
        args = CrossEncoderTrainingArguments("tmp_trainer") if args is None else args
        if not isinstance(args, CrossEncoderTrainingArguments):
            raise InputTypeError(
                "args must be CrossEncoderTrainingArguments, which take everything that "
                f"transformers.TrainingArguments takes; found {type(args).__name__}."
            )
        if model is None and model_init is None:
            raise InputError("CrossEncoderTrainer needs a model, or a model_init that makes one.")
        evaluators = as_evaluators(evaluator)
        held_out = as_dataset(eval_dataset, "eval_dataset")
        check_options(args, model, has_data=held_out is not None, has_evaluator=bool(evaluators))
        self._truncation = TruncationReport()
        self._share = 1.0
        super().__init__(
            model=model,
            args=args,
            train_dataset=as_dataset(train_dataset, "train_dataset"),
            # transformers insists on evaluation data; an evaluator brings its own.
            eval_dataset=[] if held_out is None and evaluators else held_out,
            processing_class=tokenizer if processing_class is None else processing_class,
            model_init=model_init,
            callbacks=[self._truncation, *(callbacks or [])],
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
        )
        self.eval_dataset = held_out
        self.evaluators = evaluators
        if self.processing_class is None:
            self.processing_class = self.model.tokenizer
        # A loss is the mean over one micro-batch: transformers must divide by their number.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = False
        self.loss = build_loss(loss, self.model).to(args.device)
        if self.loss.mini_batch_size and args.world_size > 1:
            raise InputError(
                "mini_batch_size works in one process only; with several, use a smaller "
                "per_device_train_batch_size or gradient_checkpointing=True."
            )
        for dataset in (self.train_dataset, self.eval_dataset):
            check_dataset(dataset, self.loss)
        self.data_collator = data_collator or PackingCollator(
            replace(self.loss.pairs, prompt=prompt_of(args, self.model)),
            self.model.pair_tokenizer,
            self.model.max_length,
        )

    # --- data ---------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches to train on."""
        if self.train_dataset is None:
            raise InputError("Training needs a train_dataset.")
        loader = make_loader(self.train_dataset, self.args, self.data_collator, training=True)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The batches to compute the evaluation loss on."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise InputError("The evaluation loss needs an eval_dataset.")
        return self.get_test_dataloader(as_dataset(dataset, "eval_dataset"))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """The rows of any dataset, in order."""
        dataset = as_dataset(test_dataset, "test_dataset")
        loader = make_loader(dataset, self.args, self.data_collator, training=False)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def _prepare_inputs(self, inputs: PackedInputs) -> PackedInputs:
        return inputs.to(self.args.device)

    # --- one step -----------------------------------------------------------------------------

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
        batch = PackedBatch.from_dict(inputs)
        parts = self.loss.mini_batch_size
        with self.accelerator.autocast():
            scores: Tensor = score_in_parts(model, batch, parts) if parts else model(batch)
        loss = self.loss.compute(scores.float(), batch.labels, batch.group_sizes) * self._share
        return (loss, scores) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: PackedInputs, *args: Any) -> Tensor:
        """One forward and backward pass.

        Raises:
            TrainingError: The loss is not a finite number. The weights have not been touched.
        """
        self._truncation.count(inputs)
        loss = self._training_passes(model, inputs, *args)
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
        parts = [(batch, 1.0)] if self.loss.mini_batch_size else share_out(batch, self.loss, most)
        total: Tensor = torch.zeros((), device=self.args.device)
        for number, (part, share) in enumerate(parts, start=1):
            # Several processes add up their gradients once per step, not once per part.
            quiet = contextlib.nullcontext() if number == len(parts) else self._alone(model)
            with quiet:
                self._share = share
                total += super().training_step(model, PackedInputs(part.to_dict()), *args)
        self._share = 1.0
        return total

    def _alone(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        return self.accelerator.no_sync(model)  # type: ignore[no-any-return]

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
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
        if prediction_loss_only:
            return loss.detach(), None, None
        return loss.detach(), scores.detach(), inputs.get("labels")

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer, with the rates of ``learning_rate_mapping``."""
        trained = self.model if model is None else model
        named = [*trained.named_parameters()]
        named += [(f"loss.{name}", p) for name, p in self.loss.named_parameters()]
        mapping = self.args.learning_rate_mapping
        own = any(name.startswith("loss.") for name, _ in named)
        if self.optimizer is not None or not (mapping or own):
            optimizer: torch.optim.Optimizer = super().create_optimizer(model)
            return optimizer
        decaying = set(self.get_decay_parameter_names(trained))
        groups = parameter_groups(named, decaying, mapping, self.args.weight_decay)
        kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(
            self.args, trained
        )
        optimizer = self.optimizer = kind(groups, **options)
        return optimizer

    # --- training and checkpoints -------------------------------------------------------------

    def train(
        self, resume_from_checkpoint: str | Path | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Trains, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: True for the newest complete checkpoint in ``output_dir``,
                or the folder of one.
            *args: As transformers' Trainer has it.
            **kwargs: As transformers' Trainer has it.

        Raises:
            TrainingError: No complete checkpoint to resume from, or a loss that is not finite.
        """
        start = starting_point(resume_from_checkpoint, self.args.output_dir)
        if self.args.device.type == "cpu":
            keep_freed_memory()
        with (
            quiet_fork(self.args.dataloader_num_workers),
            unwrapped_after(self),
            recomputing(self.model, self.args),
        ):
            output = super().train(start, *args, **kwargs)
        describe_run(self, output, self._truncation)
        return output

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
            mark_complete(path, self.state.global_step)
            if aside is not None:
                discard(aside)
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
        folder = Path(self.args.output_dir)
        (folder / "README.md").write_text(self.model.model_card(folder.name), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights((self.model if model is None else model).model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        logger.info(
            "Loading the best model, %s (%s).",
            *(self.state.best_model_checkpoint, self.state.best_metric),
        )
        load_weights(self.model.model, self.state.best_model_checkpoint)
