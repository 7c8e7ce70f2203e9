"""Sentence Transformers' path of what its kinds of models share."""

from __future__ import annotations

__all__: list[str] = []
