"""What a training run adds to the model card."""

from __future__ import annotations

from typing import Any

from rankwright.training.truncation import TruncationReport

__all__ = ["describe_run"]


def describe_run(trainer: Any, output: Any, seen: TruncationReport) -> None:
    """Fills hyperparameters and training summary of the model's card data, if it has any.

    Args:
        trainer: The trainer that has just finished.
        output: What training returned: steps, mean loss, seconds.
        seen: Pairs seen and truncated.
    """
    card = getattr(trainer.model, "model_card_data", None)
    if card is None:
        return
    args, state, loss = trainer.args, trainer.state, trainer.loss
    settings = {"loss": type(loss).__name__}
    settings |= {f"loss {name}": value for name, value in loss.get_config_dict().items()}
    settings |= {
        "learning rate": args.learning_rate,
        "schedule": getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type),
        "warm-up steps": args.get_warmup_steps(state.max_steps),
        "weight decay": args.weight_decay,
        "optimizer": getattr(args.optim, "value", args.optim),
        "rows per batch": args.train_batch_size * args.gradient_accumulation_steps,
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "max length": trainer.model.max_length,
        "seed": args.seed,
    }
    card.hyperparameters.update(settings)
    summary: dict[str, Any] = {
        "optimiser steps": state.global_step,
        "pairs seen": seen.pairs,
        "pairs truncated": seen.truncated,
        "mean training loss": round(output.training_loss, 4),
    }
    if hasattr(trainer.train_dataset, "__len__"):
        summary = {"training rows": len(trainer.train_dataset)} | summary
    if "train_runtime" in output.metrics:
        summary["seconds"] = round(output.metrics["train_runtime"], 1)
    if state.best_metric is not None:
        summary["best checkpoint"] = (
            f"step {state.best_global_step}, {args.metric_for_best_model} {state.best_metric:.4f}"
        )
    card.training_summary.update(summary)
    for tag in ("generated_from_trainer", f"loss:{type(loss).__name__}"):
        if tag not in card.tags:
            card.tags.append(tag)
