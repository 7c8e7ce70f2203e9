"""Rankwright: turns your own queries and documents into a reranker that beats what you have.

Public names load on first use, so that ``import rankwright`` stays quick and needs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.data import (
        LoadOptions,
        RankingData,
        load_data,
        read_qrels,
        read_run,
        write_qrels,
        write_run,
    )
    from rankwright.evaluation import (
        CrossEncoderClassificationEvaluator,
        CrossEncoderCorrelationEvaluator,
        CrossEncoderRerankingEvaluator,
        Fusion,
        SequentialEvaluator,
        evaluate_run,
        paired_test,
        rerank_run,
        tune_fusion,
    )
    from rankwright.losses import (
        BinaryCrossEntropyLoss,
        CachedMultipleNegativesRankingLoss,
        CrossEntropyLoss,
        GroupSoftmaxLoss,
        LambdaLoss,
        LambdaRankScheme,
        ListNetLoss,
        Loss,
        MarginMSELoss,
        MSELoss,
        MultipleNegativesRankingLoss,
        NDCGLoss1Scheme,
        NDCGLoss2PPScheme,
        NDCGLoss2Scheme,
        NoWeightingScheme,
        RankNetLoss,
    )
    from rankwright.mining import (
        BM25,
        DenseRetriever,
        EmbeddingModel,
        MiningOptions,
        mine_hard_negatives,
        retrieve,
    )
    from rankwright.model import (
        CrossEncoder,
        CrossEncoderModelCardData,
    )
    from rankwright.recipes.pipeline import (
        run_pipeline,
    )
    from rankwright.recipes.recipe import (
        Recipe,
    )
    from rankwright.training import (
        BatchSamplers,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        MultiDatasetBatchSamplers,
    )

__version__ = "0.1.0"

__all__ = [
    "BM25",
    "BatchSamplers",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEncoder",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderModelCardData",
    "CrossEncoderRerankingEvaluator",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "CrossEntropyLoss",
    "DenseRetriever",
    "EmbeddingModel",
    "Fusion",
    "GroupSoftmaxLoss",
    "LambdaLoss",
    "LambdaRankScheme",
    "ListNetLoss",
    "LoadOptions",
    "Loss",
    "MSELoss",
    "MarginMSELoss",
    "MiningOptions",
    "MultiDatasetBatchSamplers",
    "MultipleNegativesRankingLoss",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
    "RankNetLoss",
    "RankingData",
    "Recipe",
    "SequentialEvaluator",
    "__version__",
    "evaluate_run",
    "load_data",
    "mine_hard_negatives",
    "paired_test",
    "read_qrels",
    "read_run",
    "rerank_run",
    "retrieve",
    "run_pipeline",
    "tune_fusion",
    "write_qrels",
    "write_run",
]

_ROOMS = {
    "data": (
        "LoadOptions",
        "RankingData",
        "load_data",
        "read_qrels",
        "read_run",
        "write_qrels",
        "write_run",
    ),
    "evaluation": (
        "CrossEncoderClassificationEvaluator",
        "CrossEncoderCorrelationEvaluator",
        "CrossEncoderRerankingEvaluator",
        "Fusion",
        "SequentialEvaluator",
        "evaluate_run",
        "paired_test",
        "rerank_run",
        "tune_fusion",
    ),
    "losses": (
        "BinaryCrossEntropyLoss",
        "CachedMultipleNegativesRankingLoss",
        "CrossEntropyLoss",
        "GroupSoftmaxLoss",
        "LambdaLoss",
        "LambdaRankScheme",
        "ListNetLoss",
        "Loss",
        "MSELoss",
        "MarginMSELoss",
        "MultipleNegativesRankingLoss",
        "NDCGLoss1Scheme",
        "NDCGLoss2PPScheme",
        "NDCGLoss2Scheme",
        "NoWeightingScheme",
        "RankNetLoss",
    ),
    "mining": (
        "BM25",
        "DenseRetriever",
        "EmbeddingModel",
        "MiningOptions",
        "mine_hard_negatives",
        "retrieve",
    ),
    "model": (
        "CrossEncoder",
        "CrossEncoderModelCardData",
    ),
    "recipes.pipeline": ("run_pipeline",),
    "recipes.recipe": ("Recipe",),
    "training": (
        "BatchSamplers",
        "CrossEncoderTrainer",
        "CrossEncoderTrainingArguments",
        "MultiDatasetBatchSamplers",
    ),
}
_HOMES = {name: f"rankwright.{room}" for room, names in _ROOMS.items() for name in names}
"""Public name -> where it is loaded from."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankwright' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
