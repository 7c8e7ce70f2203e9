"""Training arguments as a model card shows them."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

__all__ = ["changed_arguments", "shown_arguments"]

# Where things lie on this machine, how often it talks, and what must not be published.
_NOT_SHOWN = {
    "do_eval",
    "do_predict",
    "do_train",
    "disable_tqdm",
    "eval_delay",
    "eval_on_start",
    "eval_steps",
    "eval_strategy",
    "greater_is_better",
    "hub_model_id",
    "hub_token",
    "load_best_model_at_end",
    "local_rank",
    "log_level",
    "log_level_replica",
    "logging_dir",
    "logging_first_step",
    "logging_steps",
    "logging_strategy",
    "metric_for_best_model",
    "output_dir",
    "overwrite_output_dir",
    "project",
    "push_to_hub",
    "push_to_hub_token",
    "report_to",
    "resume_from_checkpoint",
    "run_name",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "trackio_space_id",
    "use_cpu",
}
# What the arguments set themselves, whatever they are given.
_SET_BY_ITSELF = {
    "accelerator_config",
    "logging_nan_inf_filter",
    "prediction_loss_only",
    "remove_unused_columns",
    "dataloader_drop_last",
    "dataloader_pin_memory",
}


def shown_arguments(args: Any) -> dict[str, Any]:
    """All arguments that are not about this machine, by name."""
    return {name: value for name, value in args.to_dict().items() if name not in _NOT_SHOWN}


def changed_arguments(args: Any) -> dict[str, Any]:
    """Those whose value is not the default."""
    defaults = {field.name: _default(field) for field in dataclasses.fields(args)}
    return {
        name: value
        for name, value in shown_arguments(args).items()
        if name in defaults
        and name not in _SET_BY_ITSELF
        and value != defaults[name]
        and (value or defaults[name])  # None, False and [] all say: not asked for
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
    return made.value if isinstance(made, Enum) else made
