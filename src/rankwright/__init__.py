"""Rankwright: turns your own queries and documents into a reranker that beats what you have.

Public names load on first use, so that ``import rankwright`` stays quick and needs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.data import (
        InputExample,
        LoadOptions,
        RankingData,
        load_data,
        read_qrels,
        read_run,
        resolve_ids,
        write_qrels,
        write_run,
    )
    from rankwright.evaluation import (
        CrossEncoderClassificationEvaluator,
        CrossEncoderCorrelationEvaluator,
        CrossEncoderNanoBEIREvaluator,
        CrossEncoderRerankingEvaluator,
        Fusion,
        SequentialEvaluator,
        evaluate_run,
        paired_test,
        rerank_run,
        tune_fusion,
    )
    from rankwright.export import (
        ExportOptions,
        bench_model,
        export_model,
        verify_model,
    )
    from rankwright.losses import (
        ADRMSELoss,
        BinaryCrossEntropyLoss,
        CachedMultipleNegativesRankingLoss,
        CrossEntropyLoss,
        DistillKLDivLoss,
        GBCELoss,
        GroupSoftmaxLoss,
        LambdaLoss,
        LambdaRankScheme,
        ListMLELoss,
        ListNetLoss,
        Loss,
        LossTerm,
        MarginMSELoss,
        MSELoss,
        MultipleNegativesRankingLoss,
        NDCGLoss1Scheme,
        NDCGLoss2PPScheme,
        NDCGLoss2Scheme,
        NoWeightingScheme,
        PListMLELambdaWeight,
        PListMLELoss,
        RankNetLoss,
        WeightedSumLoss,
    )
    from rankwright.mining import (
        BM25,
        DenseRetriever,
        EmbeddingModel,
        MiningOptions,
        SentenceTransformer,
        TeacherOptions,
        mine_hard_negatives,
        retrieve,
        score_with_teacher,
    )
    from rankwright.model import (
        CrossEncoder,
        CrossEncoderModelCardData,
        LoggingHandler,
        LogitScore,
        Reranker,
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
        DefaultBatchSampler,
        MultiDatasetBatchSamplers,
        MultiDatasetDefaultBatchSampler,
    )

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 (in plain alphabetical order)
    "ADRMSELoss",
    "BM25",
    "BatchSamplers",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEncoder",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderModelCardData",
    "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "CrossEntropyLoss",
    "DefaultBatchSampler",
    "DenseRetriever",
    "DistillKLDivLoss",
    "EmbeddingModel",
    "ExportOptions",
    "Fusion",
    "GBCELoss",
    "GroupSoftmaxLoss",
    "InputExample",
    "LambdaLoss",
    "LambdaRankScheme",
    "ListMLELoss",
    "ListNetLoss",
    "LoadOptions",
    "LoggingHandler",
    "LogitScore",
    "Loss",
    "LossTerm",
    "MSELoss",
    "MarginMSELoss",
    "MiningOptions",
    "MultiDatasetBatchSamplers",
    "MultiDatasetDefaultBatchSampler",
    "MultipleNegativesRankingLoss",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
    "PListMLELambdaWeight",
    "PListMLELoss",
    "RankNetLoss",
    "RankingData",
    "Recipe",
    "Reranker",
    "SentenceTransformer",
    "SequentialEvaluator",
    "TeacherOptions",
    "WeightedSumLoss",
    "__version__",
    "bench_model",
    "evaluate_run",
    "export_model",
    "load_data",
    "mine_hard_negatives",
    "paired_test",
    "read_qrels",
    "read_run",
    "rerank_run",
    "resolve_ids",
    "retrieve",
    "run_pipeline",
    "score_with_teacher",
    "tune_fusion",
    "verify_model",
    "write_qrels",
    "write_run",
]

_ROOMS = {
    "data": (
        "InputExample",
        "LoadOptions",
        "RankingData",
        "load_data",
        "read_qrels",
        "read_run",
        "resolve_ids",
        "write_qrels",
        "write_run",
    ),
    "evaluation": (
        "CrossEncoderClassificationEvaluator",
        "CrossEncoderCorrelationEvaluator",
        "CrossEncoderNanoBEIREvaluator",
        "CrossEncoderRerankingEvaluator",
        "Fusion",
        "SequentialEvaluator",
        "evaluate_run",
        "paired_test",
        "rerank_run",
        "tune_fusion",
    ),
    "export": (
        "ExportOptions",
        "bench_model",
        "export_model",
        "verify_model",
    ),
    "losses": (
        "ADRMSELoss",
        "BinaryCrossEntropyLoss",
        "CachedMultipleNegativesRankingLoss",
        "CrossEntropyLoss",
        "DistillKLDivLoss",
        "GBCELoss",
        "GroupSoftmaxLoss",
        "LambdaLoss",
        "LambdaRankScheme",
        "ListMLELoss",
        "ListNetLoss",
        "Loss",
        "LossTerm",
        "MSELoss",
        "MarginMSELoss",
        "MultipleNegativesRankingLoss",
        "NDCGLoss1Scheme",
        "NDCGLoss2PPScheme",
        "NDCGLoss2Scheme",
        "NoWeightingScheme",
        "PListMLELambdaWeight",
        "PListMLELoss",
        "RankNetLoss",
        "WeightedSumLoss",
    ),
    "mining": (
        "BM25",
        "DenseRetriever",
        "EmbeddingModel",
        "MiningOptions",
        "SentenceTransformer",
        "TeacherOptions",
        "mine_hard_negatives",
        "retrieve",
        "score_with_teacher",
    ),
    "model": (
        "CrossEncoder",
        "CrossEncoderModelCardData",
        "LoggingHandler",
        "LogitScore",
        "Reranker",
    ),
    "recipes.pipeline": ("run_pipeline",),
    "recipes.recipe": ("Recipe",),
    "training": (
        "BatchSamplers",
        "CrossEncoderTrainer",
        "CrossEncoderTrainingArguments",
        "DefaultBatchSampler",
        "MultiDatasetBatchSamplers",
        "MultiDatasetDefaultBatchSampler",
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
