"""What the processes of test_shared.py do."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rankwright.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
    SequentialEvaluator,
    shared,
)
from tests.evaluation.stubs import StubModel, hashed

WORDS = "sort files by size name date list copy move open shell table row column".split()


def texts(count: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    return [" ".join(WORDS[draw(len(WORDS))] for _ in range(2 + draw(12))) for _ in range(count)]


def evaluators() -> SequentialEvaluator:
    pairs = list(zip(texts(31, 0), texts(31, 1), strict=True))
    samples = [
        {"query": query, "positive": documents[:2], "documents": documents[1:]}
        for query, documents in ((q, texts(9, i + 5)) for i, q in enumerate(texts(7, 2)))
    ]
    return SequentialEvaluator([
        CrossEncoderClassificationEvaluator(pairs, [i % 2 for i in range(31)], name="class"),
        CrossEncoderCorrelationEvaluator(pairs, [i / 31 for i in range(31)], name="scores"),
        CrossEncoderRerankingEvaluator(samples, name="lists"),
        CrossEncoderCorrelationEvaluator(pairs[:2], [0, 1], name="few"),
    ])  # fmt: skip


class Counting:
    """A real tiny model that counts the pairs it scores."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.pairs: list[tuple[str, str]] = []

    def predict(self, pairs: Any, **options: Any) -> Any:
        self.pairs += [tuple(pair) for pair in pairs]
        return self.model.predict(pairs, **options)


def tiny() -> Counting:
    from rankwright.model import CrossEncoder
    from tests.tiny import tiny_model

    return Counting(CrossEncoder.from_transformers(*tiny_model("bert")))


def each(folder: Path, rank: int) -> Any:
    """Every process calls the evaluator."""
    model = tiny()
    found = evaluators()(model, str(folder / f"csv-{rank}"), 1, 2)
    return {"metrics": found, "pairs": len(model.pairs)}


def led(folder: Path, rank: int) -> Any:
    """The first process runs the evaluators and code of its own, the others score for it."""
    model = tiny()
    ran = []

    def evaluate() -> dict[str, float]:
        ran.append(rank)
        other = StubModel(hashed)  # not the model to share
        extra = CrossEncoderCorrelationEvaluator([("a", "b"), ("c", "d"), ("e", "f")], [1, 2, 3])
        return evaluators()(model, str(folder / f"csv-{rank}"), 1, 2) | extra(other)

    found = shared.evaluate_in_first(model, evaluate)
    return {"metrics": found, "pairs": len(model.pairs), "ran": ran}


def led_failing(folder: Path, rank: int) -> Any:
    return shared.evaluate_in_first(tiny(), lambda: 1 / 0)


def scoring_fails(folder: Path, rank: int) -> Any:
    """The model fails in the second process only."""

    def score(query: str, document: str) -> float:
        if rank == 1:
            raise ValueError("out of memory")
        return hashed(query, document)

    return evaluators()(StubModel(score))


def only_first(folder: Path, rank: int) -> Any:
    """A program that evaluates in one process, and later in both."""
    shared.PATIENCE = 0.5
    model = tiny()
    results = [evaluators()(model)] * 2 if rank == 0 else []
    dist.barrier()
    results.append(evaluators()(model))
    return {"metrics": results[-1], "pairs": len(model.pairs)}


def own_samples(folder: Path, rank: int) -> Any:
    """Every process has samples of its own; then all have the same."""
    model = tiny()
    pairs = list(zip(texts(20, rank + 50), texts(20, 1), strict=True))
    own = CrossEncoderCorrelationEvaluator(pairs, list(range(20)))(model)
    scored = len(model.pairs)
    return {"own": own, "scored": scored, "metrics": evaluators()(model), "pairs": len(model.pairs)}


def main(folder: str, rank: int, world: int, *names: str) -> None:
    for name in names:
        path = Path(folder) / name
        path.mkdir(exist_ok=True)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/{name}-store", rank=rank, world_size=world
        )
        work: Callable[..., Any] = globals()[name]
        try:
            result = work(path, rank)
        except Exception as error:
            result = {"error": type(error).__name__, "message": str(error)}
            result["trace"] = traceback.format_exc()
        dist.barrier()
        dist.destroy_process_group()
        (path / f"result-{rank}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
