"""Checks and defaults, before training starts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankwright.errors import InputError, InputTypeError
from rankwright.losses.base import Loss

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = [
    "build_loss",
    "check_options",
    "default_prompt",
    "infer_direction",
    "own_recomputing",
    "unwrapped_after",
]

logger = logging.getLogger(__name__)

_LOWER_IS_BETTER = ("loss", "mse", "rmse", "mae", "error", "ece", "brier", "nll", "perplexity")


def build_loss(loss: Loss | Callable[[CrossEncoder], Loss] | None, model: CrossEncoder) -> Loss:
    """The loss that was given, or made by what was given, or the default for the model.

    Raises:
        InputTypeError: Something else than a loss.
    """
    if loss is None:
        import rankwright.losses as losses

        name = "BinaryCrossEntropyLoss" if model.num_labels == 1 else "CrossEntropyLoss"
        if name not in losses.__all__:
            raise InputError(f"a model with {model.num_labels} labels needs a loss; pass loss=.")
        loss = getattr(losses, name)
    if not isinstance(loss, Loss) and callable(loss):
        loss = loss(model)
    if not isinstance(loss, Loss):
        raise InputTypeError(
            f"loss must be a rankwright.losses.Loss, or make one from the model; "
            f"found {type(loss).__name__}."
        )
    return loss


def default_prompt(model: CrossEncoder) -> str:
    """What ``predict`` puts before every query unless told otherwise."""
    name = getattr(model, "default_prompt_name", None)
    return "" if name is None else str(model.prompts[name])


def check_options(args: Any, model: Any, held_out: Any, *, has_evaluator: bool) -> None:
    """Refuses settings that would fail, or do nothing, much later.

    Args:
        args: `CrossEncoderTrainingArguments`.
        model: The model to train, or None.
        held_out: The evaluation data, by name if there are several; or None.
        has_evaluator: Whether there is an evaluator.

    Raises:
        InputError: Such a setting.
    """
    evaluates = str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
    if (evaluates or args.eval_on_start) and held_out is None and not has_evaluator:
        raise InputError(
            "eval_strategy asks for evaluations, but there is neither an eval_dataset nor an "
            "evaluator. Pass one of them, or set eval_strategy='no'."
        )
    metric = args.metric_for_best_model
    if args.load_best_model_at_end and metric in ("loss", "eval_loss"):
        if isinstance(held_out, Mapping):
            names = ", ".join(f"'eval_{name}_loss'" for name in held_out)
            raise InputError(
                "load_best_model_at_end needs metric_for_best_model: there are several evaluation "
                f"losses. Name one of {names}, or a metric of an evaluator."
            )
        if held_out is None:
            raise InputError(
                "load_best_model_at_end needs metric_for_best_model: without an eval_dataset there "
                "is no loss to compare. Name a metric of the evaluator, such as "
                "'eval_dev_ndcg@10'."
            )
    if args.length_column_name != "length":
        raise InputError(
            f"length_column_name={args.length_column_name!r} has no effect: rows are grouped by "
            "the length of their texts, and every column but the label is a text to train on. "
            "Leave it out."
        )
    if args.fp16 and args.device.type == "cpu":
        logger.warning(
            "fp16=True has no effect on a CPU; training in float32. bf16=True works where "
            "the processor has instructions for it."
        )
    if args.n_gpu > 1:
        logger.warning("Training on the first of %d GPUs; torchrun uses all.", args.n_gpu)
        args._n_gpu = 1
    if args.save_strategy != "no" and hasattr(model, "check_savable"):
        model.check_savable()


def infer_direction(args: Any, evaluators: Sequence[Any]) -> None:
    """Sets ``greater_is_better``, unless the user did, by what ``metric_for_best_model`` is.

    An evaluator knows that of its main metric. Of others, those whose names end like an error's
    are better when they are lower.
    """
    metric = args.metric_for_best_model
    if metric is None or args.direction_given:
        return
    name = str(metric).removeprefix("eval_")
    for evaluator in _flat(evaluators):
        primary, own = getattr(evaluator, "primary_metric", None), getattr(evaluator, "name", "")
        if primary is not None and name in (primary, f"{own}_{primary}"):
            args.greater_is_better = bool(getattr(evaluator, "greater_is_better", True))
            return
    args.greater_is_better = not name.lower().endswith(_LOWER_IS_BETTER)


def _flat(evaluators: Sequence[Any]) -> Iterator[Any]:
    for evaluator in evaluators:
        yield evaluator
        yield from _flat(getattr(evaluator, "evaluators", ()))


@contextlib.contextmanager
def own_recomputing(
    args: Any,
) -> Iterator[Callable[[Any], contextlib.AbstractContextManager[None]]]:
    """Keeps gradient checkpointing away from transformers, and hands over how to switch it on.

    transformers would do it under names and with options that change from release to release and
    that packed execution does not know. The model may be made only when training starts.
    """
    flags = [f for f in ("activation_checkpointing", "gradient_checkpointing") if hasattr(args, f)]
    before = {flag: getattr(args, flag) for flag in flags}
    if not any(before.values()):
        yield lambda model: contextlib.nullcontext()
        return
    # The new name where there is one: the old one warns.
    name = flags[0]
    options = {f"{name}_kwargs": getattr(args, f"{name}_kwargs")}
    for flag in flags:
        setattr(args, flag, False)
    try:
        yield lambda model: _recomputing(model.model, name, options)
    finally:
        for flag, value in before.items():
            setattr(args, flag, value)


@contextlib.contextmanager
def _recomputing(model: Any, name: str, options: dict[str, Any]) -> Iterator[None]:
    getattr(model, f"{name}_enable")(**options)
    try:
        yield
    finally:
        getattr(model, f"{name}_disable")()


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
                getattr(trainer.model, "__dict__", {}).pop(name, None)
