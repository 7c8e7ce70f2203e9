"""What a training run adds to the model card, once, when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import TrainerCallback

from rankwright.model.card import LossFacts
from rankwright.training.card_data import describe_datasets, usage_examples
from rankwright.training.card_settings import changed_arguments, shown_arguments
from rankwright.training.truncation import TruncationReport

__all__ = ["CrossEncoderModelCardCallback", "describe_run", "log_rows"]


class CrossEncoderModelCardCallback(TrainerCallback):
    """Says that a training run is to be described in the model card; every trainer has one.

    ``trainer.remove_callback(CrossEncoderModelCardCallback)`` leaves the card's data as they are.

    Args:
        default_args_dict: Not needed here: which arguments were changed follows from their
            defaults. Taken for programs that pass it.
    """

    def __init__(self, default_args_dict: Mapping[str, Any] | None = None) -> None:
        self.default_args_dict = default_args_dict


def describe_run(trainer: Any, output: Any, seen: TruncationReport) -> None:
    """Fills in the model's card data, if it has any and the trainer is to do so.

    Args:
        trainer: The trainer that has just finished.
        output: What training returned: steps, mean loss, seconds.
        seen: Pairs seen and truncated.
    """
    card = getattr(trainer.model, "model_card_data", None)
    callbacks = trainer.callback_handler.callbacks
    wanted = any(isinstance(one, CrossEncoderModelCardCallback) for one in callbacks)
    if card is None or not wanted:
        return
    args, state = trainer.args, trainer.state
    losses = _losses(trainer.loss)
    settings: dict[str, Any] = {"loss": ", ".join(dict.fromkeys(fact.name for fact in losses))}
    card.hyperparameters.update(settings | _settings(trainer))
    card.all_hyperparameters = shown_arguments(args)
    card.non_default_hyperparameters = changed_arguments(args)
    card.losses = losses
    card.train_data = describe_datasets(trainer.train_dataset, trainer.loss, trainer.model)
    card.eval_data = describe_datasets(trainer.eval_dataset, trainer.loss, trainer.model)
    if not card.usage_examples:
        card.usage_examples = usage_examples(trainer.eval_dataset or trainer.train_dataset)
    card.training_logs = log_rows(state.log_history, trainer.evaluators)
    card.best_step = state.best_global_step if args.load_best_model_at_end else None
    card.training_summary.update(_summary(trainer, output, seen))
    card.durations = _durations(output.metrics, state.log_history)
    tags = ["generated_from_trainer", *(f"loss:{fact.name}" for fact in losses)]
    rows = [facts.size for facts in card.train_data]
    if rows and None not in rows:
        tags.append(f"dataset_size:{sum(rows)}")
    card.tags = [tag for tag in card.tags if not tag.startswith(("loss:", "dataset_size:"))]
    card.add_tags(tags)


def log_rows(
    history: Iterable[Mapping[str, Any]], evaluators: Iterable[Any]
) -> list[dict[str, float]]:
    """Epoch, step, losses and main metrics of each logged step.

    Args:
        history: The trainer's log.
        evaluators: Whose main metrics to show.
    """
    metrics = {f"eval_{name}": name for name in _main_metrics(evaluators)}
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        shown = {
            _column(name, metrics): float(value)
            for name, value in entry.items()
            if name in metrics
            or name == "loss"
            or (name.startswith("eval_") and name.endswith("loss"))
        }
        if shown and "step" in entry:
            row = rows.setdefault(
                int(entry["step"]),
                {"epoch": float(entry.get("epoch") or 0.0), "step": int(entry["step"])},
            )
            row.update(shown)
    return [rows[step] for step in sorted(rows)]


def _column(name: str, metrics: Mapping[str, str]) -> str:
    if name in metrics:
        return metrics[name]
    return {"loss": "training_loss", "eval_loss": "validation_loss"}.get(
        name, name.removeprefix("eval_")
    )


def _main_metrics(evaluators: Iterable[Any]) -> list[str]:
    found = []
    for evaluator in evaluators:
        found += _main_metrics(getattr(evaluator, "evaluators", ()))
        primary = getattr(evaluator, "primary_metric", None)
        # An evaluator that returns a bare number is logged under this name.
        found.append(str(primary) if primary is not None else "evaluator")
    return found


def _losses(loss: Any) -> list[LossFacts]:
    """One or several losses, each once."""
    found: list[LossFacts] = []
    for one in loss.values() if isinstance(loss, Mapping) else [loss]:
        fact = loss_facts(one)
        if fact not in found:
            found.append(fact)
    return found


def loss_facts(loss: Any) -> LossFacts:
    """Name, settings and citation of a loss."""
    return LossFacts(
        type(loss).__name__, dict(loss.get_config_dict()), getattr(loss, "citation", None)
    )


def _settings(trainer: Any) -> dict[str, Any]:
    args, state = trainer.args, trainer.state
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    return {
        "learning rate": args.learning_rate,
        "schedule": getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type),
        "warm-up steps": args.get_warmup_steps(state.max_steps),
        "weight decay": args.weight_decay,
        "optimizer": type(optimizer).__name__,
        "rows per batch": args.train_batch_size * args.gradient_accumulation_steps,
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "max length": trainer.model.max_length,
        "seed": args.seed,
    }


def _summary(trainer: Any, output: Any, seen: TruncationReport) -> dict[str, Any]:
    args, state = trainer.args, trainer.state
    summary: dict[str, Any] = {
        "optimiser steps": state.global_step,
        "pairs seen": seen.pairs,
        "pairs truncated": seen.truncated,
        "mean training loss": round(output.training_loss, 4),
    }
    if hasattr(trainer.train_dataset, "__len__") and not isinstance(trainer.train_dataset, Mapping):
        summary = {"training rows": len(trainer.train_dataset)} | summary
    if "train_runtime" in output.metrics:
        summary["seconds"] = round(output.metrics["train_runtime"], 1)
    summary |= trainer.baseline.notes
    if state.best_metric is not None and state.best_global_step:
        summary["best checkpoint"] = (
            f"step {state.best_global_step}, {args.metric_for_best_model} {state.best_metric:.4f}"
        )
    return summary


def _durations(
    metrics: Mapping[str, Any], history: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Seconds of training as a whole, and of the evaluations in it as far as they are known."""
    found = {}
    if "train_runtime" in metrics:
        found["training"] = float(metrics["train_runtime"])
    evaluation = sum(float(entry.get("eval_runtime", 0.0)) for entry in history)
    if evaluation:
        found["evaluation, in that"] = evaluation
    return found
