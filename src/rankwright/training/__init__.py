"""Training: arguments, collator, samplers, trainer, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES, __all__)
