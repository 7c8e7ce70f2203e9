"""Sentence Transformers' path of the samplers in `rankwright.training`."""

from __future__ import annotations

from rankwright.training import (
    BatchSamplers,
    DefaultBatchSampler,
    MultiDatasetBatchSamplers,
    MultiDatasetDefaultBatchSampler,
)

__all__ = [
    "BatchSamplers",
    "DefaultBatchSampler",
    "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler",
]
