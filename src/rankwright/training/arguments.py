"""`CrossEncoderTrainingArguments`: transformers' arguments and a few of our own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from transformers import TrainingArguments

from rankwright.engine.precision import resolve_precision
from rankwright.errors import InputError
from rankwright.training.prompts import check_prompts
from rankwright.training.refused import refuse_settings
from rankwright.training.samplers import BatchSamplers, MultiDatasetBatchSamplers
from rankwright.training.sharding import take_fsdp

__all__ = ["CrossEncoderTrainingArguments"]

logger = logging.getLogger(__name__)


@dataclass
class CrossEncoderTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments`, plus what is special to rerankers.

    Some of transformers' settings are fixed: ``prediction_loss_only`` is True (evaluators bring
    the metrics), ``remove_unused_columns`` False (columns are texts, not model inputs),
    and ``logging_nan_inf_filter`` False (a loss that is not a number stops training instead of
    being hidden). Several processes drop incomplete batches. ``bf16=True`` becomes False, with a
    warning, on a CPU that cannot multiply bfloat16; see ``emulate_bf16``.

    Raises:
        InputError: Contradictory or unavailable settings.
    """

    prompts: str | dict[str, str] | dict[str, dict[str, str]] | None = None
    """Text put before every query in training. ``{data set: text}`` says it for each data set
    (others have the model's default prompt), ``{column: text}`` and ``{data set: {column: text}}``
    for the texts of some columns, documents among them. None: the model's default prompt, if it
    has one, so that training sees what ``predict`` will see; ``predict`` itself puts a prompt
    before queries only."""
    batch_sampler: BatchSamplers | str | type | Callable[..., Any] | dict[str, Any] = (
        BatchSamplers.BATCH_SAMPLER
    )
    """Which rows may share a batch: a `BatchSamplers`, its value, or a class or function; or a
    dict with one for each data set."""
    multi_dataset_batch_sampler: (
        MultiDatasetBatchSamplers | str | type | Callable[..., Any] | dict[str, float]
    ) = MultiDatasetBatchSamplers.PROPORTIONAL
    """In which turn several data sets give their batches: a `MultiDatasetBatchSamplers`, its value,
    or a class or function; or a dict, data set -> how often its turn comes beside others. With a
    dict, an epoch has as many batches as all data sets have together; one that comes often is
    repeated, one that comes seldom is continued in the next epoch."""
    multi_dataset_temperature: float = 2.0
    """The t of ``multi_dataset_batch_sampler="temperature"``: a data set of n rows comes in
    proportion to n ** (1 / t). 1 is proportional to size; the larger, the more alike."""
    max_documents_per_query: int = 64
    """Most rows of one query that are grouped with ``batch_sampler="query_grouped"``. Of a query
    with more, an epoch sees a random choice, with relevant ones among them."""
    learning_rate_mapping: dict[str, float] = field(default_factory=dict)
    """Regular expression -> learning rate of the parameters whose names it is found in."""
    max_tokens_per_pass: int | None = None
    """Most tokens in one forward and backward pass. A step with more of them is worked through in
    parts where its loss is a mean over queries or pairs; the result is the same. None: 4,096 on a
    CPU, 65,536 elsewhere."""
    warmup_ratio: float | None = None
    """Share of all steps over which the learning rate rises, from 0 to 1."""
    evaluate_base: bool = True
    """Whether the evaluators run before the first step too (not again on a resumed run). The result
    is the entry of step 0 in the log history. Where the best model is chosen, the one from before
    training is the first candidate: with ``load_best_model_at_end`` its weights are put back if no
    checkpoint beats them, ``state.best_global_step`` is then 0, and early stopping and
    ``save_strategy="best"`` count from it."""
    on_collapse: str = "warn"
    """What to do when all scores become alike, the loss stays where knowing nothing puts it, or the
    gradient is zero: ``"warn"`` (once for each kind), ``"stop"`` training, or ``"ignore"``. See
    `rankwright.training.guards` for when that is noticed."""
    on_leak: str = "warn"
    """What to do when queries of the training data are evaluated on as well: ``"warn"``,
    ``"error"`` (before the first step, or in a stream when the row passes), or ``"ignore"``."""
    shard_weights: bool = False
    """Whether each of several processes keeps only its share of weights, gradients and optimizer
    state between steps. transformers' ``fsdp="full_shard"`` or ``fsdp=True`` sets it, and is None
    itself from then on. See `rankwright.training.sharding`."""

    emulate_bf16: bool = False
    """Whether ``bf16=True`` holds on a CPU without instructions for it as well. There it takes many
    times as long as float32, and float32 is more exact, so that is what such a CPU is given
    otherwise."""

    def __post_init__(self) -> None:
        self._take_warmup_ratio()
        self._check_sampling()
        self.batch_sampler = _enum(BatchSamplers, self.batch_sampler, "batch_sampler")
        self.multi_dataset_batch_sampler = _enum(
            MultiDatasetBatchSamplers,
            self.multi_dataset_batch_sampler,
            "multi_dataset_batch_sampler",
        )
        for name, others in (("on_collapse", ("stop",)), ("on_leak", ("error",))):
            choices = ("warn", *others, "ignore")
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not known; choose one of "
                    f"{', '.join(map(repr, choices))}."
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
        refuse_settings(self)
        take_fsdp(self)
        self.direction_given = self.greater_is_better is not None
        if self.bf16:
            self._choose_for_cpu()
        super().__post_init__()
        self.prediction_loss_only = True
        self.remove_unused_columns = False
        self.logging_nan_inf_filter = False
        # Packed batches differ in size, so no process can cut one up for the others.
        self.accelerator_config.dispatch_batches = False
        if self.world_size > 1:
            self.dataloader_drop_last = True

    def _choose_for_cpu(self) -> None:
        if not torch.accelerator.is_available():
            # transformers asks for this although there is nothing else to train on.
            self.use_cpu = True
        native = resolve_precision("auto", "cpu") == torch.bfloat16
        if self.use_cpu and not native and not self.emulate_bf16:
            logger.warning(
                "bfloat16 was asked for (bf16=True, or use_amp=True of fit), but this processor "
                "has no instructions for it (AVX512-BF16 or AMX) and would take many times as "
                "long. Training in float32, which is more exact; emulate_bf16=True of the "
                "training arguments insists on bfloat16."
            )
            self.bf16 = False

    def _check_sampling(self) -> None:
        check_prompts(self.prompts)
        for name, least in (("multi_dataset_temperature", 1.0), ("max_documents_per_query", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= least):
                raise InputError(f"{name} must be a number of at least {least}, found {value!r}.")
        weights = self.multi_dataset_batch_sampler
        if isinstance(weights, Mapping):
            for name, weight in weights.items():
                if not (isinstance(weight, int | float) and math.isfinite(weight) and weight > 0):
                    raise InputError(
                        f"multi_dataset_batch_sampler[{name!r}] must be a number above 0, found "
                        f"{weight!r}."
                    )

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values; of a class or function, its name."""
        values: dict[str, Any] = super().to_dict()
        for name in ("batch_sampler", "multi_dataset_batch_sampler"):
            value = values[name]
            if isinstance(value, Mapping):
                values[name] = {key: _plain(item) for key, item in value.items()}
            else:
                values[name] = _plain(value)
        return values

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


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if not callable(value):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


def _enum(kind: Any, value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _enum(kind, item, f"{name}[{key!r}]") for key, item in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(item.value) for item in kind)
        raise InputError(f"{name}={value!r} is not known; choose one of {known}.") from None
