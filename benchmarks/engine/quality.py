"""Whether bfloat16 and int16 change rankings: the same model and candidates in each format.

A head that was never trained gives scores that are nearly equal, so the model is trained first.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine import workloads
from benchmarks.engine.worker import LEARNING_RATE, Worker
from scipy.stats import kendalltau

from rankwright.data.types import RankingData
from rankwright.engine.native.library import unavailable
from rankwright.evaluation import evaluate_run
from rankwright.mining import BM25, retrieve

__all__ = ["measure"]

MEASURE = "nDCG@10"
KINDS = ("bfloat16", *(("int16",) if unavailable() is None else ()))
BATCH = 32


def measure(
    worker: Worker,
    *,
    data: str | None,
    train_on: str,
    steps: int,
    queries: int,
    depth: int,
    work: str,
) -> dict[str, Any]:
    """Trains, then compares on every work load that is there.

    Args:
        worker: Ours, with the untrained model loaded.
        data: Folder of B and C; None for A alone.
        train_on: Work load to train on.
        steps: Training steps of 32 pairs.
        queries: Most test queries per work load.
        depth: Candidates per query, from BM25.
        work: Folder for the trainer.
    """
    folder = None if data is None else Path(data)
    model = _trained(worker, workloads.read(train_on, folder), steps, work)
    found: dict[str, Any] = {}
    for name in workloads.TITLES:
        try:
            found[name] = _compare(model, workloads.read(name, folder), queries, depth)
        except FileNotFoundError:
            continue
    return {"loads": found, "trained_on": train_on, "steps": steps}


def _trained(worker: Worker, data: RankingData, steps: int, work: str) -> Any:
    from datasets import Dataset

    pairs = workloads.pairs(data, steps * BATCH)
    queries, documents, labels = zip(*pairs, strict=True)
    rows = Dataset.from_dict({"query": queries, "document": documents, "label": labels})
    model = worker.open("float32")
    arguments = {
        "output_dir": work,
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "bf16": True,
        "seed": 12,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    worker.trainer(model, rows, {"name": "BinaryCrossEntropyLoss"}, arguments).train()
    return model.eval()


def _compare(model: Any, data: RankingData, queries: int, depth: int) -> dict[str, Any]:
    judged = data.qrels["test"]
    chosen = sorted(judged, key=lambda q: hashlib.sha256(q.encode()).digest())[:queries]
    run = retrieve(BM25(), data.corpus, {q: data.queries[q] for q in chosen}, depth, False)
    names = [(q, d) for q, hits in run.items() for d in hits]
    texts = [(data.queries[q], data.corpus[d]) for q, d in names]
    scores = {
        precision: model.score(texts, show_progress_bar=False, precision=precision).logits[:, 0]
        for precision in ("float32", *KINDS)
    }
    sizes = [len(hits) for hits in run.values()]
    qrels = {q: judged[q] for q in chosen}
    found: dict[str, Any] = {"queries": len(chosen), "pairs": len(texts)}
    for precision, values in scores.items():
        ranked: dict[str, dict[str, float]] = {q: {} for q in run}
        for (q, d), score in zip(names, values.tolist(), strict=True):
            ranked[q][d] = score
        found[precision] = {
            MEASURE: evaluate_run(qrels, ranked, [MEASURE]).mean[MEASURE],
            "kendall_tau": _tau(scores["float32"], values, sizes),
            "largest_difference": float(np.abs(scores["float32"] - values).max()),
        }
    return {**found, "BM25": {MEASURE: evaluate_run(qrels, run, [MEASURE]).mean[MEASURE]}}


def _tau(a: Any, b: Any, sizes: list[int]) -> float:
    """Mean over queries with several candidates."""
    ends = np.cumsum(sizes)
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True) if size > 1]
    return float(np.nanmean([kendalltau(a[part], b[part]).statistic for part in parts]))
