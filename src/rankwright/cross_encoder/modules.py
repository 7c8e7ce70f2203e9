"""Sentence Transformers' path of `LogitScore`."""

from __future__ import annotations

from rankwright.model import LogitScore

__all__ = ["LogitScore"]
