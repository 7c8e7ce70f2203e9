"""`CrossEncoderTrainingArguments`: transformers' arguments and a few of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from rankwright.errors import InputError
from rankwright.training.samplers import BatchSamplers, MultiDatasetBatchSamplers

__all__ = ["CrossEncoderTrainingArguments"]


@dataclass
class CrossEncoderTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments`, plus what is special to rerankers.

    Some of transformers' settings are fixed: ``prediction_loss_only`` is True (evaluators bring
    the metrics), ``remove_unused_columns`` False (columns are texts, not model inputs),
    and ``logging_nan_inf_filter`` False (a loss that is not a number stops training instead of
    being hidden). Several processes drop incomplete batches.

    Raises:
        InputError: Contradictory or unavailable settings.
    """

    prompts: str | dict[str, str] | None = None
    """Text put before every query in training. None: the model's default prompt, if it has one,
    so that training sees what ``predict`` will see."""
    batch_sampler: BatchSamplers | str | type | Callable[..., Any] = BatchSamplers.BATCH_SAMPLER
    """Which rows may share a batch: a `BatchSamplers`, its value, or a class or function."""
    multi_dataset_batch_sampler: MultiDatasetBatchSamplers | str = (
        MultiDatasetBatchSamplers.PROPORTIONAL
    )
    """In which turn several datasets give their batches."""
    learning_rate_mapping: dict[str, float] = field(default_factory=dict)
    """Regular expression -> learning rate of the parameters whose names it is found in."""
    max_tokens_per_pass: int | None = None
    """Most tokens in one forward and backward pass. A step with more of them is worked through in
    parts where its loss is a mean over queries or pairs; the result is the same. None: 4,096 on a
    CPU, 65,536 elsewhere."""
    warmup_ratio: float | None = None
    """Share of all steps over which the learning rate rises, from 0 to 1."""

    def __post_init__(self) -> None:
        self._take_warmup_ratio()
        self.batch_sampler = _enum(BatchSamplers, self.batch_sampler, "batch_sampler")
        self.multi_dataset_batch_sampler = _enum(
            MultiDatasetBatchSamplers,
            self.multi_dataset_batch_sampler,
            "multi_dataset_batch_sampler",
        )
        for pattern, rate in self.learning_rate_mapping.items():
            if not rate >= 0:
                raise InputError(f"learning_rate_mapping[{pattern!r}] is {rate!r}, below 0.")
        for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
            # Renamed within transformers 5; the old name alone still works, with a warning.
            new = old.replace("gradient", "activation")
            if getattr(self, new, 0) is None and getattr(self, old) is not None:
                setattr(self, new, getattr(self, old))
        if self.max_tokens_per_pass is not None and self.max_tokens_per_pass < 1:
            raise InputError(
                f"max_tokens_per_pass must be at least 1, found {self.max_tokens_per_pass}."
            )
        super().__post_init__()
        self.prediction_loss_only = True
        self.remove_unused_columns = False
        self.logging_nan_inf_filter = False
        # Packed batches differ in size, so no process can cut one up for the others.
        self.accelerator_config.dispatch_batches = False
        if self.world_size > 1:
            self.dataloader_drop_last = True
        for name in ("deepspeed", "fsdp"):
            if getattr(self, name, None):
                raise InputError(
                    f"{name} is not supported: rerankers fit on one device, and checkpoints are "
                    "written by Rankwright itself. Remove it; several GPUs work through torchrun."
                )

    def _take_warmup_ratio(self) -> None:
        """transformers 5 says it through a ``warmup_steps`` below 1."""
        if self.warmup_ratio is None:
            return
        if not 0.0 <= self.warmup_ratio <= 1.0:
            raise InputError(f"warmup_ratio must be from 0 to 1, found {self.warmup_ratio!r}.")
        inherited: Any = self
        # An explicit number of steps wins, as it does in transformers.
        if inherited.warmup_steps == 0:
            # A warmup_steps of 1 would be read as one step.
            inherited.warmup_steps = min(self.warmup_ratio, 1.0 - 1e-9)


def _enum(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(item.value) for item in kind)
        raise InputError(f"{name}={value!r} is not known; choose one of {known}.") from None
