"""Sentence Transformers' path of what rerankers share with its embedding models."""

from __future__ import annotations

__all__: list[str] = []
