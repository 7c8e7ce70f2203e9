"""Samples for the reranking evaluator, and models with known scores."""

from __future__ import annotations

import numpy as np

from rankwright.evaluation import CrossEncoderRerankingEvaluator
from tests.evaluation.stubs import StubModel, hashed


def by_table(**scores: float) -> StubModel:
    return StubModel(lambda query, document: scores[document])


def run(samples, model=None, **options) -> dict[str, float]:
    return CrossEncoderRerankingEvaluator(samples, **options)(model or StubModel(hashed))


def random_samples(kind: str, seed: int = 0, n: int = 25) -> list[dict]:
    rng = np.random.default_rng(seed)
    samples = []
    for q in range(n):
        texts = [f"text {q}-{i}" for i in range(int(rng.integers(5, 30)))]
        positive, rest = texts[: rng.integers(1, 4)], texts[3:]
        if kind == "negative":
            samples.append({"query": f"query {q}", "positive": positive, "negative": rest})
        else:
            found = positive if kind == "documents" else positive[: rng.integers(0, 2)]
            documents = [str(t) for t in rng.permutation([*found, *rest])]
            samples.append({"query": f"query {q}", "positive": positive, "documents": documents})
    return samples
