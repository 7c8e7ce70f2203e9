"""Training: arguments, collator, samplers, trainer, checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.training.arguments import CrossEncoderTrainingArguments
    from rankwright.training.card import CrossEncoderModelCardCallback
    from rankwright.training.checkpoints import find_checkpoint
    from rankwright.training.collator import CrossEncoderDataCollator, PackingCollator
    from rankwright.training.fit_loop import old_fit
    from rankwright.training.fit_trainer import fit
    from rankwright.training.samplers import (
        BatchSamplers,
        DefaultBatchSampler,
        MultiDatasetBatchSamplers,
        MultiDatasetDefaultBatchSampler,
    )
    from rankwright.training.trainer import CrossEncoderTrainer

_HOMES = {
    "BatchSamplers": "samplers",
    "CrossEncoderDataCollator": "collator",
    "CrossEncoderModelCardCallback": "card",
    "CrossEncoderTrainer": "trainer",
    "CrossEncoderTrainingArguments": "arguments",
    "DefaultBatchSampler": "samplers",
    "MultiDatasetBatchSamplers": "samplers",
    "MultiDatasetDefaultBatchSampler": "samplers",
    "PackingCollator": "collator",
    "find_checkpoint": "checkpoints",
    "fit": "fit_trainer",
    "old_fit": "fit_loop",
}

__all__ = [
    "BatchSamplers",
    "CrossEncoderDataCollator",
    "CrossEncoderModelCardCallback",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "DefaultBatchSampler",
    "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler",
    "PackingCollator",
    "find_checkpoint",
    "fit",
    "old_fit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
