"""Sentence Transformers' path of the trainer in `rankwright.training`."""

from __future__ import annotations

from rankwright.training import CrossEncoderTrainer

__all__ = ["CrossEncoderTrainer"]
