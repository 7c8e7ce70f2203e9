"""Losses: pure functions of (scores, labels, group sizes), one file each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.losses.base import Loss
    from rankwright.losses.binary_cross_entropy import BinaryCrossEntropyLoss
    from rankwright.losses.cross_entropy import CrossEntropyLoss
    from rankwright.losses.group_softmax import GroupSoftmaxLoss
    from rankwright.losses.lambda_loss import LambdaLoss, RankNetLoss
    from rankwright.losses.list_net import ListNetLoss
    from rankwright.losses.margin_mse import MarginMSELoss
    from rankwright.losses.mse import MSELoss
    from rankwright.losses.multiple_negatives_ranking import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )
    from rankwright.losses.pairs import LABEL_COLUMNS, LabelRule, PairBuilder, PairRows
    from rankwright.losses.weighting import (
        LambdaRankScheme,
        NDCGLoss1Scheme,
        NDCGLoss2PPScheme,
        NDCGLoss2Scheme,
        NoWeightingScheme,
    )

_HOMES = {
    "CachedMultipleNegativesRankingLoss": "multiple_negatives_ranking",
    "MultipleNegativesRankingLoss": "multiple_negatives_ranking",
    "BinaryCrossEntropyLoss": "binary_cross_entropy",
    "CrossEntropyLoss": "cross_entropy",
    "GroupSoftmaxLoss": "group_softmax",
    "LABEL_COLUMNS": "pairs",
    "LabelRule": "pairs",
    "LambdaLoss": "lambda_loss",
    "LambdaRankScheme": "weighting",
    "ListNetLoss": "list_net",
    "Loss": "base",
    "MSELoss": "mse",
    "MarginMSELoss": "margin_mse",
    "NDCGLoss1Scheme": "weighting",
    "NDCGLoss2PPScheme": "weighting",
    "NDCGLoss2Scheme": "weighting",
    "NoWeightingScheme": "weighting",
    "PairBuilder": "pairs",
    "PairRows": "pairs",
    "RankNetLoss": "lambda_loss",
}

__all__ = [
    "LABEL_COLUMNS",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEntropyLoss",
    "GroupSoftmaxLoss",
    "LabelRule",
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
    "PairBuilder",
    "PairRows",
    "RankNetLoss",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
