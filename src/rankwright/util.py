"""Sentence Transformers' path of what lives in `rankwright.mining`."""

from __future__ import annotations

from rankwright.mining import mine_hard_negatives

__all__ = ["mine_hard_negatives"]
