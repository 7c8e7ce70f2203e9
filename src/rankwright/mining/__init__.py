"""First stages and hard negatives.

`BM25` and `DenseRetriever` find candidates, `retrieve` writes them as a run, `mine` and
`mine_hard_negatives` choose negatives from them. Names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.mining.bm25 import BM25
    from rankwright.mining.dense import DenseRetriever
    from rankwright.mining.encoder import EmbeddingModel, SentenceTransformer
    from rankwright.mining.encoding import Encoder
    from rankwright.mining.first_stage import FirstStage, retrieve, score_positives
    from rankwright.mining.from_run import mine
    from rankwright.mining.hard_negatives import mine_hard_negatives
    from rankwright.mining.negatives import (
        Candidates,
        Positives,
        Selection,
        select_negatives,
    )
    from rankwright.mining.options import MiningOptions
    from rankwright.mining.teacher import TeacherOptions, score_with_teacher

__all__ = [
    "BM25",
    "Candidates",
    "DenseRetriever",
    "EmbeddingModel",
    "Encoder",
    "FirstStage",
    "MiningOptions",
    "Positives",
    "Selection",
    "SentenceTransformer",
    "TeacherOptions",
    "mine",
    "mine_hard_negatives",
    "retrieve",
    "score_positives",
    "score_with_teacher",
    "select_negatives",
]

_HOMES = {
    "BM25": "bm25",
    "Candidates": "negatives",
    "DenseRetriever": "dense",
    "EmbeddingModel": "encoder",
    "Encoder": "encoding",
    "FirstStage": "first_stage",
    "MiningOptions": "options",
    "Positives": "negatives",
    "Selection": "negatives",
    "SentenceTransformer": "encoder",
    "TeacherOptions": "teacher",
    "mine": "from_run",
    "mine_hard_negatives": "hard_negatives",
    "retrieve": "first_stage",
    "score_positives": "first_stage",
    "score_with_teacher": "teacher",
    "select_negatives": "negatives",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES, __all__)
