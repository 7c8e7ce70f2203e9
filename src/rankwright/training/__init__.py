"""Training: arguments, collator, samplers, trainer, checkpoints."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.training.arguments import CrossEncoderTrainingArguments
    from rankwright.training.checkpoints import find_checkpoint
    from rankwright.training.collator import PackingCollator
    from rankwright.training.samplers import BatchSamplers, MultiDatasetBatchSamplers
    from rankwright.training.trainer import CrossEncoderTrainer

_HOMES = {
    "BatchSamplers": "samplers",
    "CrossEncoderTrainer": "trainer",
    "CrossEncoderTrainingArguments": "arguments",
    "MultiDatasetBatchSamplers": "samplers",
    "PackingCollator": "collator",
    "find_checkpoint": "checkpoints",
}

__all__ = [
    "BatchSamplers",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "MultiDatasetBatchSamplers",
    "PackingCollator",
    "find_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
