"""Sentence Transformers' path of the arguments in `rankwright.training`."""

from __future__ import annotations

from rankwright.training import CrossEncoderTrainingArguments

__all__ = ["CrossEncoderTrainingArguments"]
