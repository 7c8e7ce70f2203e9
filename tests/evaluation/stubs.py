"""A model that scores pairs by a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Card:
    """Stands for a model card; keeps what it is given."""

    def __init__(self) -> None:
        self.stored: list[tuple[Any, ...]] = []

    def set_evaluation_metrics(self, *values: Any) -> None:
        self.stored.append(values)


class StubModel:
    """Counts its calls and scores each pair with ``score(query, document)``."""

    def __init__(self, score: Callable[[str, str], Any], num_labels: int = 1) -> None:
        self.score = score
        self.num_labels = num_labels
        self.calls: list[list[tuple[str, str]]] = []
        self.options: list[dict[str, Any]] = []
        self.model_card_data = Card()

    def predict(self, pairs: Any, **options: Any) -> np.ndarray:
        self.calls.append([tuple(pair) for pair in pairs])
        self.options.append(options)
        return np.array([self.score(*pair) for pair in pairs], dtype=np.float32)


def hashed(query: str, document: str) -> float:
    """A score that looks random, is the same each time, and differs for different pairs."""
    import hashlib

    digest = hashlib.sha256(f"{query}|{document}".encode()).digest()
    return int.from_bytes(digest[:3], "big") / 2**24
