"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["QUICK", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How much is measured. Numbers are chosen for a CPU with two cores and about ten minutes.

    Attributes:
        pairs: Pairs of code search for throughput.
        repeats: Turns of each row, in turn with the reference.
        batches: Batch sizes that those are tried with that do not choose one themselves.
        tuning_pairs: Pairs of one trial.
        lists: Queries that are ranked.
        documents: Documents of each.
        starts: Fresh processes for the start-up time.
        train_queries: Queries of nl2bash that a reranker is trained on, by the recipe that users
            get: one whose scores say little shows nothing of what 8 bits cost.
        train_steps: Without nl2bash, steps of 32 pairs that give the new head something to say.
        quality_queries: Test queries for nDCG@10.
        quality_depth: Candidates of each, from BM25.
        seed: Of head and training.
    """

    pairs: int = 256
    repeats: int = 3
    batches: tuple[int, ...] = (4, 8, 16, 32)
    tuning_pairs: int = 64
    lists: int = 3
    documents: int = 100
    starts: int = 3
    train_queries: int = 1000
    train_steps: int = 60
    quality_queries: int = 200
    quality_depth: int = 20
    seed: int = 12


# For --quick: shows that everything works; the figures mean nothing.
QUICK: dict[str, Any] = {
    "pairs": 8,
    "repeats": 1,
    "batches": (4,),
    "tuning_pairs": 4,
    "lists": 1,
    "documents": 4,
    "starts": 1,
    "train_queries": 20,
    "train_steps": 1,
    "quality_queries": 3,
    "quality_depth": 4,
}
