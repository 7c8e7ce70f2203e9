"""Encoders and scorers for tests: deterministic, instant, and different for different texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch


class ToyEncoder:
    """Embeddings from a hash of each word; texts that share words are similar.

    It has all that Sentence Transformers' own mining asks of a model, too.
    """

    device = torch.device("cpu")
    model_card_data = SimpleNamespace(base_model="toy")

    def __init__(self, dimension: int = 16) -> None:
        self.dimension = dimension
        self.encoded = 0

    def encode(self, texts: Sequence[str], normalize_embeddings: bool = False) -> Any:
        self.encoded += len(texts)
        rows = [sum((self._word(w) for w in t.split()), np.zeros(self.dimension)) for t in texts]
        vectors = np.array(rows, dtype=np.float32)
        if normalize_embeddings:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).normal(size=self.dimension)

    def encode_query(self, texts: Sequence[str], **options: Any) -> Any:
        return self.encode(texts, options.get("normalize_embeddings", False))

    encode_document = encode_query

    def get_embedding_dimension(self) -> int:
        return self.dimension

    def similarity(self, a: Any, b: Any) -> Any:
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)


class ToyCrossEncoder:
    """Scores from a hash of the pair; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def predict(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = 32, **options: Any
    ) -> Any:
        self.calls.append(list(pairs))
        scores = np.array([self.score(q, d) for q, d in pairs], dtype=np.float32)
        return torch.from_numpy(scores) if options.get("convert_to_tensor") else scores

    @staticmethod
    def score(query: str, document: str) -> float:
        digest = hashlib.sha256(f"{query}\0{document}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**31 - 1


WORDS = "list files sort name size open port kill process find text copy move disk user".split()


def sentences(count: int, seed: int, length: int = 6) -> list[str]:
    """Different texts of a few words each."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = rng.choice(WORDS, size=rng.integers(2, length + 1))
        texts[" ".join([*words, f"n{rng.integers(40)}"])] = None
    return list(texts)
