"""Cross-encoders: folders in every layout, the scoring contract, prediction and saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.model.card.data import CrossEncoderModelCardData, MetricRow
    from rankwright.model.contract import ActivationSpec, ScoringContract
    from rankwright.model.cross_encoder import CrossEncoder
    from rankwright.model.layouts import LoadedLayout, read_layout
    from rankwright.model.legacy import batch_to_device
    from rankwright.model.logging_handler import LoggingHandler
    from rankwright.model.logit_score import LogitScore
    from rankwright.model.pool import WorkerPool
    from rankwright.model.reranker import Reranker
    from rankwright.model.scored import ScoredPairs

__all__ = [
    "ActivationSpec",
    "CrossEncoder",
    "CrossEncoderModelCardData",
    "LoadedLayout",
    "LoggingHandler",
    "LogitScore",
    "MetricRow",
    "Reranker",
    "ScoredPairs",
    "ScoringContract",
    "WorkerPool",
    "batch_to_device",
    "read_layout",
]

_WHERE = {
    "ActivationSpec": "contract",
    "CrossEncoder": "cross_encoder",
    "CrossEncoderModelCardData": "card.data",
    "LoadedLayout": "layouts",
    "LoggingHandler": "logging_handler",
    "LogitScore": "logit_score",
    "MetricRow": "card.data",
    "Reranker": "reranker",
    "ScoredPairs": "scored",
    "ScoringContract": "contract",
    "WorkerPool": "pool",
    "batch_to_device": "legacy",
    "read_layout": "layouts",
}

__getattr__, __dir__ = lazy_names(__name__, _WHERE, __all__)
