"""What `fit` and `old_fit` share: options, dataloader, optimizer, schedule, evaluations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rankwright.data import labelled_pair
from rankwright.errors import EmptyDataError, InputError
from rankwright.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    SequentialEvaluator,
    main_score,
)

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = [
    "SCHEDULES",
    "FitOptions",
    "Judge",
    "as_evaluator",
    "as_loader",
    "build_optimizer",
    "build_scheduler",
]

SCHEDULES = {
    "constantlr": "constant",
    "warmupconstant": "constant_with_warmup",
    "warmuplinear": "linear",
    "warmupcosine": "cosine",
    "warmupcosinewithhardrestarts": "cosine_with_restarts",
}
"""Schedule as `fit` names it -> as transformers does."""

_LIST_BATCH_SIZE = 16
_NO_DECAY = ("bias", "LayerNorm.bias", "LayerNorm.weight")


@dataclass(frozen=True)
class FitOptions:
    """The options of `CrossEncoder.fit`, which says what they mean."""

    epochs: int = 1
    loss_fct: Callable[[Tensor, Tensor], Tensor] | None = None
    activation_fct: nn.Module | None = None
    scheduler: Any = "WarmupLinear"
    warmup_steps: int = 10000
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW
    optimizer_params: Mapping[str, Any] | None = None
    weight_decay: float = 0.01
    evaluation_steps: int = 0
    output_path: str | None = None
    save_best_model: bool = True
    max_grad_norm: float = 1
    use_amp: bool = False
    callback: Callable[[float, int, int], None] | None = None
    show_progress_bar: bool = True


def as_loader(data: Any, collate: Callable[[list[Any]], Any]) -> Any:
    """A dataloader with the order and batches of ``data`` that collates with ``collate``.

    Args:
        data: A dataloader, which is left as it is, or a list of examples.
        collate: Batch of examples -> what the loop takes.

    Raises:
        EmptyDataError: No examples.
        InputError: No batches, or no known number of them.
    """
    if isinstance(data, list | tuple):
        if not data:
            raise EmptyDataError("train_dataloader is an empty list; training needs examples.")
        return DataLoader(
            data,  # type: ignore[arg-type]
            batch_size=_LIST_BATCH_SIZE,
            shuffle=True,
            collate_fn=collate,
        )
    if not hasattr(data, "collate_fn") or not hasattr(data, "__iter__"):
        raise InputError(
            f"train_dataloader is a {type(data).__name__}; expected a torch DataLoader over "
            "InputExamples, or a list of them."
        )
    if isinstance(data, DataLoader) and data.batch_sampler is None and data.batch_size is None:
        raise InputError("train_dataloader has batch_size=None; give it a batch_size.")
    loader: Any = copy.copy(data)  # setting its collate function would change the caller's
    loader.collate_fn = collate
    if hasattr(loader, "_iterator"):
        loader._iterator = None  # workers that are kept alive collate as before
    try:
        batches = len(loader)
    except TypeError as error:
        raise InputError(
            "train_dataloader has no length, and learning-rate schedules need to know the number "
            "of steps. Use a dataset with a length, or CrossEncoderTrainer with max_steps."
        ) from error
    if batches == 0:
        raise EmptyDataError(
            "train_dataloader has no batches. With drop_last=True there must be at least one full "
            "batch."
        )
    return loader


def as_evaluator(evaluator: Any, num_labels: int) -> Any:
    """An evaluator from what the user passed: itself, several, labelled pairs or None."""
    if not isinstance(evaluator, list | tuple):
        return evaluator
    if not evaluator:
        return None
    if all(callable(item) for item in evaluator):
        return SequentialEvaluator(evaluator)
    rows = [labelled_pair(item) for item in evaluator]
    pairs = [[query, document] for query, document, _ in rows]
    labels = [label for _, _, label in rows]
    if num_labels > 1 or set(labels) == {0, 1}:
        return CrossEncoderClassificationEvaluator(pairs, [int(label) for label in labels])
    return CrossEncoderCorrelationEvaluator(pairs, labels)


def build_optimizer(model: CrossEncoder, options: FitOptions) -> torch.optim.Optimizer:
    """The optimizer of the options, or the one that a given scheduler drives.

    Raises:
        InputError: A scheduler whose optimizer does not train this model.
    """
    driven = getattr(options.scheduler, "optimizer", None)
    if driven is not None:
        trained = {id(p) for group in driven.param_groups for p in group["params"]}
        if not any(id(p) in trained for p in model.model.parameters()):
            raise InputError(
                "scheduler drives an optimizer that has none of this model's parameters, so it "
                "would have no effect. Make its optimizer from model.parameters(), or pass a "
                "function that makes the scheduler from an optimizer."
            )
        optimizer: torch.optim.Optimizer = driven
        return optimizer
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.model.named_parameters():
        groups[not any(part in name for part in _NO_DECAY)].append(parameter)
    kind: Any = options.optimizer_class
    given = {"lr": 2e-5} if options.optimizer_params is None else dict(options.optimizer_params)
    made: torch.optim.Optimizer = kind(
        [
            {"params": groups[True], "weight_decay": options.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        **given,
    )
    return made


def build_scheduler(optimizer: torch.optim.Optimizer, options: FitOptions, steps: int) -> Any:
    """The learning-rate schedule of the options, over ``steps`` steps.

    Raises:
        InputError: An unknown name, or a schedule that follows a metric.
    """
    import transformers

    scheduler = options.scheduler
    if isinstance(scheduler, str):
        name = SCHEDULES.get(scheduler.lower())
        if name is None:
            raise InputError(
                f"scheduler={scheduler!r} is not known; choose one of "
                f"{', '.join(map(repr, SCHEDULES))}, in any case."
            )
        return transformers.get_scheduler(
            name, optimizer, num_warmup_steps=options.warmup_steps, num_training_steps=steps
        )
    ready = hasattr(scheduler, "step") and not isinstance(scheduler, type)
    made = scheduler if ready else scheduler(optimizer)
    if isinstance(made, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise InputError(
            "ReduceLROnPlateau follows a metric, which fit does not hand on. Use "
            "CrossEncoderTrainer with lr_scheduler_type='reduce_lr_on_plateau'."
        )
    return made


class Judge:
    """Runs the evaluator, calls back, and keeps the best model.

    Args:
        model: The model in training.
        evaluator: From `as_evaluator`.
        options: Of the run.

    Raises:
        InputError: A model that could not be saved to ``output_path``.
    """

    def __init__(self, model: CrossEncoder, evaluator: Any, options: FitOptions) -> None:
        self.model = model
        self.evaluator = evaluator
        self.options = options
        self._best: float | None = None
        self._saved = False
        if options.output_path is not None:
            model.check_savable()
            Path(options.output_path).mkdir(parents=True, exist_ok=True)

    def due(self, step: int) -> bool:
        """Whether to evaluate after this step of an epoch, counted from 1."""
        every = self.options.evaluation_steps or 0
        return self.evaluator is not None and every > 0 and step % every == 0

    def __call__(self, epoch: int, steps: int) -> None:
        """One evaluation.

        Args:
            epoch: Counted from 0.
            steps: Steps done in this epoch; -1 after the last.
        """
        if self.evaluator is None:
            return
        path = self.options.output_path
        result = self.evaluator(self.model, output_path=path, epoch=epoch, steps=steps)
        score = main_score(self.evaluator, result)
        if self.options.callback is not None:
            self.options.callback(score, epoch, steps)
        sign = 1.0 if getattr(self.evaluator, "greater_is_better", True) else -1.0
        if self._best is None or sign * score > sign * self._best:
            self._best = self.model.best_score = score
            if self.options.save_best_model and path is not None:
                self.model.save_pretrained(path, create_model_card=False)
                self._saved = True
        self.model.train()  # evaluators of users' own may leave it in evaluation mode

    def finish(self) -> None:
        """Saves the model, or only its card if a better one stands in the folder already."""
        path = self.options.output_path
        if path is None:
            return
        if self._saved:
            self.model.save_card(path)
        else:
            self.model.save_pretrained(path)
