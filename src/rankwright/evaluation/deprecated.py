"""Names that evaluators had in Sentence Transformers before version 4.

They take what they took, return what their successors return, and warn. Where the old evaluator
printed a number that its successor does not, that number is still printed and returned.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rankwright.evaluation.classification import CrossEncoderClassificationEvaluator
from rankwright.evaluation.correlation import CrossEncoderCorrelationEvaluator
from rankwright.evaluation.reranking import CrossEncoderRerankingEvaluator

__all__ = [
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
]

logger = logging.getLogger(__name__)


def _warn(old: type, new: str) -> None:
    message = f"{old.__name__} is deprecated; use {new}, which takes the same arguments."
    warnings.warn(message, DeprecationWarning, stacklevel=3)


class _FromExamples(CrossEncoderClassificationEvaluator):
    def __init__(
        self, sentence_pairs: Sequence[Sequence[str]], labels: Sequence[int], **options: Any
    ) -> None:
        super().__init__(sentence_pairs, labels, **options)

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> Any:
        """From objects with ``texts`` (two of them) and ``label``, such as ``InputExample``."""
        examples = list(examples)
        return cls([e.texts for e in examples], [e.label for e in examples], **options)


class CEBinaryAccuracyEvaluator(_FromExamples):
    """Deprecated: `CrossEncoderClassificationEvaluator`, and the accuracy at a fixed threshold.

    Args:
        sentence_pairs: Pairs of texts.
        labels: The class of each pair, 0 or 1.
        name: Put in front of the metrics.
        threshold: A pair with a score above it counts as positive; the metric is called
            ``accuracy_at_0.5``.
        **options: As `CrossEncoderClassificationEvaluator` has them.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        labels: Sequence[int],
        name: str = "",
        threshold: float = 0.5,
        **options: Any,
    ) -> None:
        _warn(CEBinaryAccuracyEvaluator, "CrossEncoderClassificationEvaluator")
        super().__init__(sentence_pairs, labels, name=name, **options)
        self.threshold = threshold

    def _more(self, scores: Any, labels: Any) -> dict[str, float]:
        if scores.ndim != 1:
            return {}
        accuracy = float(np.mean((scores > self.threshold) == (labels == 1)))
        logger.info("Accuracy: %.2f", accuracy * 100)
        return {f"accuracy_at_{self.threshold:g}": accuracy}


class CEBinaryClassificationEvaluator(_FromExamples):
    """Deprecated: `CrossEncoderClassificationEvaluator`.

    Args:
        sentence_pairs: Pairs of texts.
        labels: The class of each pair, 0 or 1.
        **options: As `CrossEncoderClassificationEvaluator` has them.
    """

    def __init__(
        self, sentence_pairs: Sequence[Sequence[str]], labels: Sequence[int], **options: Any
    ) -> None:
        _warn(CEBinaryClassificationEvaluator, "CrossEncoderClassificationEvaluator")
        super().__init__(sentence_pairs, labels, **options)


class CEF1Evaluator(_FromExamples):
    """Deprecated: `CrossEncoderClassificationEvaluator`.

    Args:
        sentence_pairs: Pairs of texts.
        labels: The class of each pair.
        **options: As `CrossEncoderClassificationEvaluator` has them.
    """

    def __init__(
        self, sentence_pairs: Sequence[Sequence[str]], labels: Sequence[int], **options: Any
    ) -> None:
        _warn(CEF1Evaluator, "CrossEncoderClassificationEvaluator")
        super().__init__(sentence_pairs, labels, **options)


class CESoftmaxAccuracyEvaluator(_FromExamples):
    """Deprecated: `CrossEncoderClassificationEvaluator`, and ``accuracy`` for several classes.

    Args:
        sentence_pairs: Pairs of texts.
        labels: The class of each pair.
        name: Put in front of the metrics.
        **options: As `CrossEncoderClassificationEvaluator` has them.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        labels: Sequence[int],
        name: str = "",
        **options: Any,
    ) -> None:
        _warn(CESoftmaxAccuracyEvaluator, "CrossEncoderClassificationEvaluator")
        super().__init__(sentence_pairs, labels, name=name, **options)

    def _more(self, scores: Any, labels: Any) -> dict[str, float]:
        if scores.ndim != 2:
            return {}
        accuracy = float(np.mean(scores.argmax(axis=1) == labels))
        logger.info("Accuracy: %.2f", accuracy * 100)
        return {"accuracy": accuracy}


class CECorrelationEvaluator(CrossEncoderCorrelationEvaluator):
    """Deprecated: `CrossEncoderCorrelationEvaluator`, under its old name.

    Args:
        *args: As `CrossEncoderCorrelationEvaluator` has them.
        **options: Likewise.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        _warn(CECorrelationEvaluator, "CrossEncoderCorrelationEvaluator")
        super().__init__(*args, **options)


class CERerankingEvaluator(CrossEncoderRerankingEvaluator):
    """Deprecated: `CrossEncoderRerankingEvaluator`, under its old name.

    Args:
        *args: As `CrossEncoderRerankingEvaluator` has them.
        **options: Likewise.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        _warn(CERerankingEvaluator, "CrossEncoderRerankingEvaluator")
        super().__init__(*args, **options)
