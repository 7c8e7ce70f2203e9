"""`CrossEncoderTrainer`: transformers' Trainer with one packed forward pass per step."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from rankwright.engine.allocator import keep_freed_memory
from rankwright.errors import InputError, InputTypeError
from rankwright.training.arguments import CrossEncoderTrainingArguments
from rankwright.training.baseline import Baseline
from rankwright.training.binding import (
    build_collator,
    build_losses,
    check_rows,
    loss_parameters,
    losses,
)
from rankwright.training.card import CrossEncoderModelCardCallback, describe_run
from rankwright.training.checkpointing import CheckpointingTrainer
from rankwright.training.checkpoints import starting_point
from rankwright.training.collator import PackedInputs
from rankwright.training.components import LossComponents
from rankwright.training.data import as_datasets, named, one_of, quiet_fork
from rankwright.training.evaluating import EvaluatingTrainer
from rankwright.training.evaluators import as_evaluators
from rankwright.training.guards import CollapseWatch, combiner
from rankwright.training.leaks import LeakWatch
from rankwright.training.loaders import check_sampling, keep_epochs, make_loader
from rankwright.training.loss_state import LossParameters
from rankwright.training.optimizer import parameter_groups
from rankwright.training.refused import refuse_launch
from rankwright.training.searching import SearchingTrainer, with_adapter
from rankwright.training.setup import (
    check_options,
    infer_direction,
    own_recomputing,
    unwrapped_after,
)
from rankwright.training.sharding import check_sharding
from rankwright.training.stepping import SteppingTrainer
from rankwright.training.tracking import note_emissions
from rankwright.training.truncation import TruncationReport

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rankwright.model import CrossEncoder

__all__ = ["CrossEncoderTrainer"]

logger = logging.getLogger(__name__)


class CrossEncoderTrainer(
    SteppingTrainer, CheckpointingTrainer, SearchingTrainer, EvaluatingTrainer
):
    """Trains a `CrossEncoder`.

    The collator turns rows into one packed batch (in dataloader workers, if there are any), the
    model scores all pairs of the step in one forward pass, and the loss is computed from the
    flat scores. Data can be streamed. Checkpoints count only when complete, and resuming from
    one gives bit for bit the weights of the run that was never interrupted.

    Args:
        model: The model to train; it is changed in place.
        args: Settings; all defaults, writing to ``tmp_trainer``, if None.
        train_dataset: A `datasets.Dataset`, `datasets.IterableDataset` (with ``max_steps``) or
            list of dicts; or a dict of these, such as a `datasets.DatasetDict`, to train on
            several: each keeps its own columns, and every batch comes from one of them. The first
            text column is the query; the loss says what else it takes.
        eval_dataset: The same, for the loss on held-out data. A dict gives ``eval_{name}_loss``
            for each.
        loss: A loss, or a class or function that makes one from the model; or a dict of these,
            with one for each data set. By default `BinaryCrossEntropyLoss` for one label, else
            ``CrossEntropyLoss``.
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
        peft_config: Puts an adapter into the model, such as ``peft.LoraConfig(r=8)``; only it and
            the head are then trained. See `CrossEncoder.add_adapter`.

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
        loss: Any = None,
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
        peft_config: Any = None,
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
        train = as_datasets(train_dataset, "train_dataset")
        held_out = as_datasets(eval_dataset, "eval_dataset")
        check_options(args, model, held_out, has_evaluator=bool(evaluators))
        check_sampling(train, args)
        check_sharding(args, optimizers[0])
        infer_direction(args, evaluators)
        self._peft_config = peft_config
        self._given = (loss, data_collator)
        self._loss_starts = {}
        with_adapter(model, peft_config, args.seed)
        self._truncation = TruncationReport()
        self.baseline = Baseline(self)
        self.collapse = CollapseWatch(args.on_collapse)
        self.leaks = LeakWatch(args.on_leak)
        self.loss_components = LossComponents()
        super().__init__(
            model=model,
            args=args,
            train_dataset=train,
            # transformers insists on evaluation data; an evaluator brings its own.
            eval_dataset=[] if held_out is None and evaluators else held_out,
            processing_class=tokenizer if processing_class is None else processing_class,
            model_init=model_init,
            callbacks=[
                LossParameters(lambda: self.loss, args.world_size),
                CrossEncoderModelCardCallback(),
                *(self._truncation, self.baseline, self.collapse, self.leaks),
                *(callbacks or []),
            ],
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
        )
        refuse_launch(self)
        self.collapse.combine = combiner(self.accelerator)
        self.eval_dataset = held_out
        self.evaluators = evaluators
        if self.processing_class is None:
            self.processing_class = self.model.tokenizer
        # A loss is the mean over one micro-batch: transformers must divide by their number.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = False
        self._settle(self.model)
        for data in (self.train_dataset, self.eval_dataset):
            check_rows(named(data), self.data_collator)

    def _settle(self, model: Any) -> None:
        loss, collator = self._given
        data = {"train_dataset": self.train_dataset, "eval_dataset": self.eval_dataset}
        made = build_losses(loss, model, data)
        for _, one in losses(made):
            self._renewed(one, model).to(self.args.device)
        self.loss = made
        every = named(self.eval_dataset) | named(self.train_dataset)
        self.data_collator = build_collator(model, self.args, (made, collator), every)

    # --- data ---------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches to train on."""
        if self.train_dataset is None:
            raise InputError("Training needs a train_dataset.")
        collator = self.leaks.collator(self.data_collator, self.train_dataset)
        args = copy.copy(self.args)
        if args.auto_find_batch_size:
            args.per_device_train_batch_size = self._train_batch_size
        loader = make_loader(self.train_dataset, args, collator, training=True)
        prepared: DataLoader[Any] = keep_epochs(self.accelerator.prepare(loader))
        return prepared

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The batches to compute the evaluation loss on.

        Args:
            eval_dataset: The name of one of the trainer's data sets, or any data; the trainer's
                own if None.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise InputError("The evaluation loss needs an eval_dataset.")
        if isinstance(dataset, str):
            dataset = one_of(self.eval_dataset, dataset)
        return self.get_test_dataloader(as_datasets(dataset, "eval_dataset"))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """The rows of any dataset, in order."""
        dataset = as_datasets(test_dataset, "test_dataset")
        loader = make_loader(dataset, self.args, self.data_collator, training=False)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    # --- training ------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer, with the rates of ``learning_rate_mapping``."""
        trained = self.model if model is None else model
        parameters = [*trained.named_parameters(), *loss_parameters(self.loss)]
        mapping = self.args.learning_rate_mapping
        own = any(name.startswith("loss.") for name, _ in parameters)
        if self.optimizer is not None or not (mapping or own):
            optimizer: torch.optim.Optimizer = super().create_optimizer(model)
            return optimizer
        decaying = set(self.get_decay_parameter_names(trained))
        groups = parameter_groups(parameters, decaying, mapping, self.args.weight_decay)
        kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(
            self.args, trained
        )
        optimizer = self.optimizer = kind(groups, **options)
        return optimizer

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
        self.leaks.look(self.train_dataset, self.eval_dataset, self.evaluators)
        if self.args.device.type == "cpu":
            keep_freed_memory()
        with (
            quiet_fork(self.args.dataloader_num_workers),
            unwrapped_after(self),
            own_recomputing(self.args) as self._recomputing,
        ):
            output = super().train(start, *args, **kwargs)
        describe_run(self, output, self._truncation)
        note_emissions(self)
        return output

    def _inner_training_loop(self, batch_size: int | None = None, *args: Any, **kwargs: Any) -> Any:
        with self._recomputing(self.model):
            return super()._inner_training_loop(batch_size, *args, **kwargs)
