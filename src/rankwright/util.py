"""Sentence Transformers' path of what lives in `rankwright.data`, `.mining` and `.model`."""

from __future__ import annotations

from rankwright.data import resolve_ids
from rankwright.mining import mine_hard_negatives
from rankwright.model import LoggingHandler, batch_to_device

__all__ = ["LoggingHandler", "batch_to_device", "mine_hard_negatives", "resolve_ids"]
