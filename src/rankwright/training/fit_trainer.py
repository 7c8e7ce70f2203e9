"""`fit`: training on a dataloader of examples, through `CrossEncoderTrainer`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback

from rankwright.data import labelled_pair
from rankwright.errors import InputError
from rankwright.losses.base import Loss, function_name
from rankwright.losses.pairs import LabelRule, PairBuilder
from rankwright.training.arguments import CrossEncoderTrainingArguments
from rankwright.training.collator import PackedInputs
from rankwright.training.fitting import (
    SCHEDULES,
    FitOptions,
    Judge,
    as_evaluator,
    as_loader,
    build_optimizer,
    build_scheduler,
)
from rankwright.training.trainer import CrossEncoderTrainer

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["FunctionLoss", "fit"]


def fit(model: CrossEncoder, data: Any, evaluator: Any = None, **options: Any) -> None:
    """See `CrossEncoder.fit`."""
    chosen = FitOptions(**options)
    judge = Judge(model, as_evaluator(evaluator, model.num_labels), chosen)
    optimizer = build_optimizer(model, chosen)
    loss = _loss(model, chosen)
    with TemporaryDirectory() as scratch:
        args = _arguments(scratch, model, chosen, optimizer)
        if isinstance(loss, FunctionLoss):
            args.on_collapse = "ignore"  # watching it calls the loss more often than training does
        if args.world_size > 1:
            raise InputError(
                "fit trains in one process, and would train the same batches in each of "
                f"{args.world_size}. Use CrossEncoderTrainer, which shares them out."
            )
        with _random_numbers_kept():  # transformers' trainer seeds everything anew
            trainer = _LoaderTrainer(
                model=model,
                args=args,
                loss=loss,
                callbacks=[_Evaluations(judge)],
                optimizers=(optimizer, None),
            )
        trainer.remove_callback(PrinterCallback)
        trainer.loader = as_loader(data, _ExampleCollator(trainer.data_collator))
        args.per_device_train_batch_size = getattr(trainer.loader, "batch_size", None) or 1
        steps = len(trainer.loader) * int(chosen.epochs)
        trainer.lr_scheduler = build_scheduler(optimizer, chosen, steps)
        trainer.train()
    if not isinstance(chosen.scheduler, str):
        model.model_card_data.hyperparameters["schedule"] = type(trainer.lr_scheduler).__name__
    model.eval()
    judge.finish()


class FunctionLoss(Loss):
    """Any function of logits and labels as a loss.

    Args:
        model: The model.
        loss_fct: Takes ``(P,)`` logits and float32 labels for one label, else
            ``(P, num_labels)`` logits and int64 labels; gives a scalar.
        activation_fct: Applied to the logits first.
    """

    num_labels_needed = None

    def __init__(
        self,
        model: CrossEncoder,
        loss_fct: Callable[[Tensor, Tensor], Tensor],
        activation_fct: nn.Module | None = None,
    ) -> None:
        super().__init__(model)
        self.loss_fct = loss_fct
        self.activation_fct = nn.Identity() if activation_fct is None else activation_fct
        rule = LabelRule() if model.num_labels == 1 else LabelRule(integer=True)
        self.pairs = PairBuilder(type(self).__name__, ("pairs",), rule)

    def compute(self, scores: Tensor, labels: Tensor | None, group_sizes: Tensor | None) -> Tensor:
        """What the function gives. See `Loss.compute`."""
        assert labels is not None  # the collator has seen to that
        return self.loss_fct(self.activation_fct(scores), labels)

    def get_config_dict(self) -> dict[str, Any]:
        """Names of function and activation."""
        named = getattr(self.loss_fct, "__name__", None) or function_name(self.loss_fct)  # type: ignore[arg-type]
        return {"loss_fct": named, "activation_fct": function_name(self.activation_fct)}


def _loss(model: CrossEncoder, options: FitOptions) -> Loss:
    from rankwright.losses import BinaryCrossEntropyLoss, CrossEntropyLoss

    given, activation = options.loss_fct, options.activation_fct
    if isinstance(given, Loss):
        return given
    if given is not None:
        return FunctionLoss(model, given, activation)
    kind: Any = BinaryCrossEntropyLoss if model.num_labels == 1 else CrossEntropyLoss
    loss: Loss = kind(model, activation)
    return loss


def _arguments(
    folder: str, model: CrossEncoder, options: FitOptions, optimizer: torch.optim.Optimizer
) -> Any:
    """The trainer's arguments; rate, decay and warm-up are only for the model card."""
    name = SCHEDULES.get(options.scheduler.lower()) if isinstance(options.scheduler, str) else None
    on_cpu = model.device.type == "cpu"
    return CrossEncoderTrainingArguments(
        folder,
        num_train_epochs=int(options.epochs),
        learning_rate=optimizer.param_groups[0]["lr"],
        weight_decay=options.weight_decay,
        warmup_steps=options.warmup_steps,
        max_grad_norm=options.max_grad_norm,
        fp16=options.use_amp and not on_cpu,
        bf16=options.use_amp and on_cpu,
        use_cpu=on_cpu,
        disable_tqdm=not options.show_progress_bar,
        save_strategy="no",
        report_to="none",
        lr_scheduler_type=name or "linear",
    )


class _LoaderTrainer(CrossEncoderTrainer):
    """Goes through a dataloader of the caller's."""

    loader: Any

    def get_train_dataloader(self) -> DataLoader[Any]:
        """That dataloader; accelerate would replace its sampler."""
        loader: DataLoader[Any] = self.loader
        return loader


@dataclass(frozen=True)
class _ExampleCollator:
    """Examples as rows to the collator."""

    collator: Callable[[Sequence[Mapping[str, Any]]], PackedInputs]

    def __call__(self, batch: Sequence[Any]) -> PackedInputs:
        names = ("query", "document", "label")
        return self.collator([dict(zip(names, labelled_pair(item), strict=True)) for item in batch])


class _Evaluations(TrainerCallback):
    """Evaluates after every so many steps of an epoch, and after each epoch."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._epoch = -1
        self._step = 0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts epochs from 0 and steps anew."""
        self._epoch += 1
        self._step = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluates if it is due."""
        self._step += 1
        if self._judge.due(self._step):
            self._judge(self._epoch, self._step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluates."""
        self._judge(self._epoch, -1)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """What is drawn or seeded inside has no effect on what is drawn afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        yield
    random.setstate(python)
    np.random.set_state(numpy)
