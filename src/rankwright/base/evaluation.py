"""Sentence Transformers' path of the bases in `rankwright.evaluation`."""

from __future__ import annotations

from rankwright.evaluation import BaseEvaluator, SentenceEvaluator, SequentialEvaluator

__all__ = ["BaseEvaluator", "SentenceEvaluator", "SequentialEvaluator"]
