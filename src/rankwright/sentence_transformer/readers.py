"""Sentence Transformers' path of `InputExample`."""

from __future__ import annotations

from rankwright.data import InputExample

__all__ = ["InputExample"]
