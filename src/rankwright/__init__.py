"""Rankwright: turns your own queries and documents into a reranker that beats what you have.

Public names load on first use, so that ``import rankwright`` stays quick and needs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    "BM25": "rankwright.mining",
    "BatchSamplers": "rankwright.training",
    "BinaryCrossEntropyLoss": "rankwright.losses",
    "CrossEncoder": "rankwright.model",
    "CrossEncoderModelCardData": "rankwright.model",
    "CrossEncoderRerankingEvaluator": "rankwright.evaluation",
    "CrossEncoderTrainer": "rankwright.training",
    "CrossEncoderTrainingArguments": "rankwright.training",
    "mine_hard_negatives": "rankwright.mining",
}
"""Public name -> the room it is loaded from."""

__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    pass


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankwright' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
