"""Sentence Transformers' path of what lives in `rankwright.training`."""

from __future__ import annotations

from rankwright.training import BatchSamplers, MultiDatasetBatchSamplers

__all__ = ["BatchSamplers", "MultiDatasetBatchSamplers"]
