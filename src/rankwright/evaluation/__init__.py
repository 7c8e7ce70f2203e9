"""Judging rerankers: measures, significance, fusion with the first stage, and evaluators.

Names are loaded when they are first used; importing this package loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.evaluation.base import (
        BaseEvaluator,
        SentenceEvaluator,
        SequentialEvaluator,
        main_score,
    )
    from rankwright.evaluation.classification import CrossEncoderClassificationEvaluator
    from rankwright.evaluation.correlation import CrossEncoderCorrelationEvaluator
    from rankwright.evaluation.deprecated import (
        CEBinaryAccuracyEvaluator,
        CEBinaryClassificationEvaluator,
        CECorrelationEvaluator,
        CEF1Evaluator,
        CERerankingEvaluator,
        CESoftmaxAccuracyEvaluator,
    )
    from rankwright.evaluation.fusion import Fusion
    from rankwright.evaluation.measures import Evaluation, evaluate_run
    from rankwright.evaluation.nano_beir import CrossEncoderNanoBEIREvaluator
    from rankwright.evaluation.rerank import Reranked, rerank_run
    from rankwright.evaluation.reranking import CrossEncoderRerankingEvaluator, RerankingResult
    from rankwright.evaluation.shared import evaluate_in_first
    from rankwright.evaluation.significance import PairedTest, paired_test
    from rankwright.evaluation.tuning import TunedFusion, tune_fusion

__all__ = [
    "BaseEvaluator",
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator",
    "Evaluation",
    "Fusion",
    "PairedTest",
    "Reranked",
    "RerankingResult",
    "SentenceEvaluator",
    "SequentialEvaluator",
    "TunedFusion",
    "evaluate_in_first",
    "evaluate_run",
    "main_score",
    "paired_test",
    "rerank_run",
    "tune_fusion",
]

_MODULES = {
    "base": ("BaseEvaluator", "SentenceEvaluator", "SequentialEvaluator", "main_score"),
    "classification": ("CrossEncoderClassificationEvaluator",),
    "correlation": ("CrossEncoderCorrelationEvaluator",),
    "deprecated": (
        "CEBinaryAccuracyEvaluator",
        "CEBinaryClassificationEvaluator",
        "CECorrelationEvaluator",
        "CEF1Evaluator",
        "CERerankingEvaluator",
        "CESoftmaxAccuracyEvaluator",
    ),
    "fusion": ("Fusion",),
    "measures": ("Evaluation", "evaluate_run"),
    "nano_beir": ("CrossEncoderNanoBEIREvaluator",),
    "rerank": ("Reranked", "rerank_run"),
    "reranking": ("CrossEncoderRerankingEvaluator", "RerankingResult"),
    "shared": ("evaluate_in_first",),
    "significance": ("PairedTest", "paired_test"),
    "tuning": ("TunedFusion", "tune_fusion"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__getattr__, __dir__ = lazy_names(__name__, _HOME, __all__)
