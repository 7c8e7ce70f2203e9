"""Checks and defaults, before training starts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rankwright.errors import InputError, InputTypeError
from rankwright.losses.base import Loss

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["build_loss", "check_options", "prompt_of", "recomputing", "unwrapped_after"]

logger = logging.getLogger(__name__)


def build_loss(loss: Loss | Callable[[CrossEncoder], Loss] | None, model: CrossEncoder) -> Loss:
    """The loss that was given, or made by what was given, or the default for the model.

    Raises:
        InputTypeError: Something else than a loss.
        InputError: Several losses.
    """
    if loss is None:
        import rankwright.losses as losses

        name = "BinaryCrossEntropyLoss" if model.num_labels == 1 else "CrossEntropyLoss"
        if name not in losses.__all__:
            raise InputError(f"a model with {model.num_labels} labels needs a loss; pass loss=.")
        loss = getattr(losses, name)
    if isinstance(loss, dict):
        raise InputError("loss is a dict, for several datasets; training takes one of each.")
    if not isinstance(loss, Loss) and callable(loss):
        loss = loss(model)
    if not isinstance(loss, Loss):
        raise InputTypeError(
            f"loss must be a rankwright.losses.Loss, or make one from the model; "
            f"found {type(loss).__name__}."
        )
    return loss


def prompt_of(args: Any, model: CrossEncoder) -> str:
    """What stands before every query in training.

    Raises:
        InputError: Prompts by dataset or column.
    """
    if isinstance(args.prompts, str):
        return args.prompts
    if args.prompts:
        raise InputError(
            "prompts is a dict, for several datasets; with one dataset it must be a text, which "
            "is put before every query."
        )
    name = getattr(model, "default_prompt_name", None)
    return "" if name is None else str(model.prompts[name])


def check_options(args: Any, model: Any, *, has_data: bool, has_evaluator: bool) -> None:
    """Refuses settings that would fail, or do nothing, much later.

    Raises:
        InputError: Such a setting.
    """
    evaluates = str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
    if (evaluates or args.eval_on_start) and not (has_data or has_evaluator):
        raise InputError(
            "eval_strategy asks for evaluations, but there is neither an eval_dataset nor an "
            "evaluator. Pass one of them, or set eval_strategy='no'."
        )
    metric = args.metric_for_best_model
    if args.load_best_model_at_end and not has_data and metric in ("loss", "eval_loss"):
        raise InputError(
            "load_best_model_at_end needs metric_for_best_model: without an eval_dataset there is "
            "no loss to compare. Name a metric of the evaluator, such as 'eval_dev_ndcg@10'."
        )
    if args.fp16 and args.device.type == "cpu":
        logger.warning("fp16=True has no effect on a CPU; training in float32. bf16=True works.")
    if args.n_gpu > 1:
        logger.warning("Training on the first of %d GPUs; torchrun uses all.", args.n_gpu)
        args._n_gpu = 1
    if args.save_strategy != "no" and hasattr(model, "check_savable"):
        model.check_savable()


@contextlib.contextmanager
def recomputing(model: Any, args: Any) -> Iterator[None]:
    """Gradient checkpointing while training, if the arguments ask for it.

    transformers would switch it on itself, under names and with options that change from release
    to release and that packed execution does not know.
    """
    flags = [f for f in ("activation_checkpointing", "gradient_checkpointing") if hasattr(args, f)]
    before = {flag: getattr(args, flag) for flag in flags}
    if not any(before.values()):
        yield
        return
    # The new name where there is one: the old one warns.
    name = flags[0]
    options = {f"{name}_kwargs": getattr(args, f"{name}_kwargs")}
    getattr(model.model, f"{name}_enable")(**options)
    for flag in flags:
        setattr(args, flag, False)
    try:
        yield
    finally:
        getattr(model.model, f"{name}_disable")()
        for flag, value in before.items():
            setattr(args, flag, value)


@contextlib.contextmanager
def unwrapped_after(trainer: Any) -> Iterator[None]:
    """Undoes accelerate's replacement of ``model.forward`` when the outermost call ends.

    Left in place, the model would go on computing in the precision of its training.
    """
    nested = trainer.is_in_train
    try:
        yield
    finally:
        if not nested:
            trainer.is_in_train = False  # transformers leaves it set when training fails
            for name in ("forward", "_original_forward"):
                trainer.model.__dict__.pop(name, None)
