"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["QUICK", "Settings"]

BATCHES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Settings:
    """How much is measured. Lengths are chosen for a CPU with two cores."""

    repeats: int = 5
    predict_pairs: int = 512
    tuning_pairs: int = 128
    tuning_batches: tuple[int, ...] = BATCHES
    train_steps: dict[str, int] = field(default_factory=lambda: {"A": 4, "B": 16, "C": 4})
    train_batch: int = 32
    rank_queries: int = 4
    rank_documents: int = 100
    memory_queries: int = 8
    memory_documents: tuple[int, ...] = (16, 32, 64, 128)
    memory_max_length: int = 64
    mini_batch: int = 16
    quality_steps: int = 60
    quality_queries: int = 100
    quality_depth: int = 20
    curve_steps: int = 48
    curve_seeds: int = 3
    curve_blocks: int = 6
    curve_learning_rate: float = 1e-4
    peak_seconds: float = 1.0
    seed: int = 12


# For --quick: shows that everything works; the figures mean nothing.
QUICK: dict[str, Any] = {
    "repeats": 1,
    "predict_pairs": 8,
    "tuning_pairs": 8,
    "tuning_batches": (8,),
    "train_steps": {"A": 2, "B": 2, "C": 2},
    "train_batch": 2,
    "rank_queries": 1,
    "rank_documents": 4,
    "memory_queries": 2,
    "memory_documents": (2, 4),
    "mini_batch": 2,
    "quality_steps": 1,
    "quality_queries": 4,
    "quality_depth": 3,
    "curve_steps": 2,
    "curve_seeds": 2,
    "curve_blocks": 1,
    "peak_seconds": 0.02,
}
