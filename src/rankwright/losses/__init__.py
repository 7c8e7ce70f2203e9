"""Losses: pure functions of (scores, labels, group sizes), one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.losses.adr_mse import ADRMSELoss
    from rankwright.losses.base import Loss
    from rankwright.losses.binary_cross_entropy import BinaryCrossEntropyLoss
    from rankwright.losses.cross_entropy import CrossEntropyLoss
    from rankwright.losses.distill_kl_div import DistillKLDivLoss
    from rankwright.losses.gbce import GBCELoss
    from rankwright.losses.group_softmax import GroupSoftmaxLoss
    from rankwright.losses.lambda_loss import LambdaLoss, RankNetLoss
    from rankwright.losses.list_mle import ListMLELoss, PListMLELambdaWeight, PListMLELoss
    from rankwright.losses.list_net import ListNetLoss
    from rankwright.losses.margin_mse import MarginMSELoss
    from rankwright.losses.mse import MSELoss
    from rankwright.losses.multiple_negatives_ranking import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )
    from rankwright.losses.pairs import LABEL_COLUMNS, LabelRule, PairBuilder, PairRows
    from rankwright.losses.weighted_sum import LossTerm, WeightedSumLoss
    from rankwright.losses.weighting import (
        LambdaRankScheme,
        NDCGLoss1Scheme,
        NDCGLoss2PPScheme,
        NDCGLoss2Scheme,
        NoWeightingScheme,
    )

_HOMES = {
    "ADRMSELoss": "adr_mse",
    "BinaryCrossEntropyLoss": "binary_cross_entropy",
    "CachedMultipleNegativesRankingLoss": "multiple_negatives_ranking",
    "CrossEntropyLoss": "cross_entropy",
    "DistillKLDivLoss": "distill_kl_div",
    "GBCELoss": "gbce",
    "GroupSoftmaxLoss": "group_softmax",
    "LABEL_COLUMNS": "pairs",
    "LabelRule": "pairs",
    "LambdaLoss": "lambda_loss",
    "LambdaRankScheme": "weighting",
    "ListMLELoss": "list_mle",
    "ListNetLoss": "list_net",
    "Loss": "base",
    "LossTerm": "weighted_sum",
    "MSELoss": "mse",
    "MarginMSELoss": "margin_mse",
    "MultipleNegativesRankingLoss": "multiple_negatives_ranking",
    "NDCGLoss1Scheme": "weighting",
    "NDCGLoss2PPScheme": "weighting",
    "NDCGLoss2Scheme": "weighting",
    "NoWeightingScheme": "weighting",
    "PListMLELambdaWeight": "list_mle",
    "PListMLELoss": "list_mle",
    "PairBuilder": "pairs",
    "PairRows": "pairs",
    "RankNetLoss": "lambda_loss",
    "WeightedSumLoss": "weighted_sum",
}

__all__ = [
    "LABEL_COLUMNS",
    "ADRMSELoss",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEntropyLoss",
    "DistillKLDivLoss",
    "GBCELoss",
    "GroupSoftmaxLoss",
    "LabelRule",
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
    "PairBuilder",
    "PairRows",
    "RankNetLoss",
    "WeightedSumLoss",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES, __all__)
