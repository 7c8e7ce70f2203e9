"""Sentence Transformers' path of the collator in `rankwright.training`."""

from __future__ import annotations

from rankwright.training import CrossEncoderDataCollator

__all__ = ["CrossEncoderDataCollator"]
