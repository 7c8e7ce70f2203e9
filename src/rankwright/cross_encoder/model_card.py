"""Sentence Transformers' path of what fills in model cards."""

from __future__ import annotations

from rankwright.model import CrossEncoderModelCardData
from rankwright.training import CrossEncoderModelCardCallback

__all__ = ["CrossEncoderModelCardCallback", "CrossEncoderModelCardData"]
