"""Every row of the table: what is asked of whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.engine import workloads
from benchmarks.engine.bench import Bench
from benchmarks.engine.client import Client, WorkerError, alternate
from benchmarks.engine.curves import curves_row
from benchmarks.engine.own_rows import (
    compiled_row,
    compiled_training_row,
    prepacked_row,
    quality_row,
    share_row,
)
from benchmarks.engine.results import compared, summary

__all__ = ["GROUPS", "ROWS", "Row"]

GROUPS = ("predict", "train", "rank", "memory", "quality")
PEER_BATCH = 32


def predict_row(
    bench: Bench, title: str, ours: tuple[str, int | None], peer: tuple[str, int | None]
) -> dict[str, Any]:
    """Both on A; the first, uncounted run of each warms it up."""

    def mine(_: int) -> float:
        return bench.predict(bench.ours, *ours, "ours")

    def theirs(_: int) -> float:
        return bench.predict(bench.peer, *peer, "peer")

    alternate(mine, theirs, 1)
    values = alternate(mine, theirs, bench.settings.repeats)
    scores = [np.load(bench.work / f"scores-{side}.npy") for side in ("ours", "peer")]
    return compared(
        "predict",
        title,
        "pairs/s",
        summary(f"{ours[0]}, {_batch(ours[1])}", values[0]),
        summary(f"{peer[0]}, {_batch(peer[1])}", values[1]),
        largest_difference=float(np.abs(scores[0] - scores[1]).max()),
        spread_of_scores=float(scores[1].std()),
    )


def train_row(bench: Bench, load: str, precision: str) -> dict[str, Any]:
    """Both trainers over the same pairs, in another order in each repeat."""
    s = bench.settings
    plan = bench.training(load, precision)
    products: dict[str, str] = {}

    def once(client: Client, side: str) -> Callable[[int], float]:
        def measured(repeat: int) -> float:
            answer = client.ask("train", seed=s.seed + repeat, **plan)
            products[side] = answer["products"]
            return float(answer["pairs_per_second"])

        return measured

    values = alternate(once(bench.ours, "ours"), once(bench.peer, "peer"), s.repeats)
    name = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    title = f"training on {load} ({workloads.TITLES[load]}), {name}"
    # Rankwright trains in float32 where the processor has no instructions for bfloat16.
    sides = [
        summary(f"batch {s.train_batch}, {products[side]}", rates)
        for side, rates in zip(("ours", "peer"), values, strict=True)
    ]
    return compared("train", title, "pairs/s", *sides, steps=plan["steps"])


def rank_row(bench: Bench, title: str, ours: str, peer: str) -> dict[str, Any]:
    """Milliseconds from one query with its documents to the ranking."""
    s = bench.settings
    file = bench.lists_file(s.rank_queries, s.rank_documents)
    found: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(-1, s.repeats):
        for side, client, precision in (("ours", bench.ours, ours), ("peer", bench.peer, peer)):
            count = 1 if repeat < 0 else s.rank_queries
            answer = client.ask("rank", file=file, count=count, precision=precision)
            if repeat >= 0:
                found[side] += [1000 * seconds for seconds in answer["latencies"]]
    sides = [summary(what, found[key]) for what, key in ((ours, "ours"), (peer, "peer"))]
    return compared("rank", title, "ms", *sides, documents=s.rank_documents)


def memory_side(bench: Bench, library: str, mini_batch: int | None, documents: int) -> Any:
    """One step in a process of its own; None and the reason if it failed."""
    s = bench.settings
    client = bench.fresh(library)
    try:
        client.ask("load", folder=bench.model, precisions=[])
        file = bench.lists_file(s.memory_queries, documents)
        answer = client.ask(
            "memory",
            file=file,
            queries=s.memory_queries,
            mini_batch=mini_batch,
            max_length=s.memory_max_length,
            work=str(bench.work / "trainer"),
        )
    except WorkerError as error:
        return None, str(error)
    finally:
        client.close()
    what = f"{_mini_batch(mini_batch)}, {s.memory_queries} x {documents}"
    return summary(what, [answer["mib"]], peak_restarted=answer["peak_restarted"]), None


def memory_row(bench: Bench, peer_batch: int | None) -> dict[str, Any]:
    """One listwise step of each."""
    s = bench.settings
    documents = 64 if 64 in s.memory_documents else s.memory_documents[-1]
    ours, failed = memory_side(bench, "ours", s.mini_batch, documents)
    if ours is None:
        raise WorkerError(failed)
    peer, note = memory_side(bench, "peer", peer_batch, documents)
    title = f"memory of a ListNet step, {s.memory_queries} queries x {documents} documents"
    title += f"; Sentence Transformers with {_mini_batch(peer_batch)}"
    return compared("memory", title, "MiB", ours, peer, note=note)


def growth_row(bench: Bench) -> dict[str, Any]:
    """Ours with longer and longer lists."""
    found = {}
    for documents in bench.settings.memory_documents:
        side, failed = memory_side(bench, "ours", bench.settings.mini_batch, documents)
        found[str(documents)] = failed if side is None else side["median"]
    return {"group": "memory", "title": "memory by documents per query", "mib": found}


def _batch(size: int | None) -> str:
    return "default batches" if size is None else f"batch {size}"


def _mini_batch(size: int | None) -> str:
    return "its defaults" if size is None else f"mini_batch_size={size}"


@dataclass(frozen=True)
class Row:
    """A row's id, group, measurement, and whether it needs ``--data``."""

    name: str
    group: str
    measure: Callable[[Bench], dict[str, Any]]
    needs_data: bool = False


def _train(load: str, precision: str) -> Row:
    return Row(
        f"train-{load}-{precision}",
        "train",
        lambda bench: train_row(bench, load, precision),
        load in workloads.FOLDERS,
    )


ROWS = (
    Row(
        "predict-default",
        "predict",
        lambda b: predict_row(
            b,
            "predict, precision auto; Sentence Transformers by default",
            ("auto", None),
            ("float32", PEER_BATCH),
        ),
    ),
    Row(
        "predict-best",
        "predict",
        lambda b: predict_row(
            b,
            "predict, precision auto; Sentence Transformers at its best",
            ("auto", None),
            b.best["peer"],
        ),
    ),
    Row(
        "predict-float32",
        "predict",
        lambda b: predict_row(
            b,
            "predict, exact float32, both at their best batch size",
            b.best["ours float32"],
            b.best["peer float32"],
        ),
    ),
    Row("share-of-peak", "predict", share_row),
    Row("compiled", "predict", compiled_row),
    Row("prepacked", "predict", prepacked_row),
    Row("compiled-training", "train", compiled_training_row),
    *(_train(load, precision) for load in workloads.TITLES for precision in ("fp32", "bf16")),
    Row(
        "rank-default",
        "rank",
        lambda b: rank_row(
            b, "rank, precision auto; Sentence Transformers by default", "auto", "float32"
        ),
    ),
    Row(
        "rank-bfloat16",
        "rank",
        lambda b: rank_row(
            b, "rank, precision auto; Sentence Transformers in bfloat16", "auto", "bfloat16"
        ),
    ),
    Row(
        "rank-float32",
        "rank",
        lambda b: rank_row(b, "rank, both in float32", "float32", "float32"),
    ),
    Row("memory-default", "memory", lambda b: memory_row(b, None)),
    Row("memory-mini-batch", "memory", lambda b: memory_row(b, b.settings.mini_batch)),
    Row("memory-growth", "memory", growth_row),
    Row("quality", "quality", quality_row),
    Row("loss-curves", "quality", curves_row),
)
