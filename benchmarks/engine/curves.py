"""Whether packed training follows the padded float32 reference: losses step by step.

Sentence Transformers in float32 is the reference. Both trainers see the same pairs in three orders;
curves are compared in blocks of steps, because the loss of one step depends on its pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.engine.bench import Bench
from benchmarks.engine.client import Client

__all__ = ["compare", "curves_row"]

SIDES = (("reference", "peer", "fp32"), ("float32", "ours", "fp32"), ("bfloat16", "ours", "bf16"))


def curves_row(bench: Bench) -> dict[str, Any]:
    """Mean losses of every side in blocks of steps, and how far ours are from the reference."""
    s = bench.settings
    load = "A" if bench.data is None else "B"
    plan = {
        "file": bench.pairs_file(load, s.curve_steps * s.train_batch),
        "steps": s.curve_steps,
        "batch": s.train_batch,
        "learning_rate": s.curve_learning_rate,
        "work": str(bench.work / "trainer"),
    }
    clients: dict[str, Client] = {"ours": bench.ours, "peer": bench.peer}
    losses: dict[str, list[list[float]]] = {name: [] for name, _, _ in SIDES}
    products: dict[str, str] = {}
    for seed in range(s.seed, s.seed + s.curve_seeds):
        for name, library, precision in SIDES:
            answer = clients[library].ask("curve", seed=seed, precision=precision, **plan)
            losses[name].append(answer["losses"])
            products[name] = answer["products"]
    return {
        "group": "quality",
        "title": "loss curves",
        "trained_on": load,
        "steps": s.curve_steps,
        "seeds": s.curve_seeds,
        "losses": losses,
        "products": products,
        **compare(losses, s.curve_blocks),
    }


def compare(losses: dict[str, list[list[float]]], blocks: int) -> dict[str, Any]:
    """Curves in blocks of steps.

    Args:
        losses: ``{side: (seeds, steps)}`` with the side ``"reference"``.
        blocks: Parts that the steps are put into.

    Returns:
        ``means`` and ``deviations`` over the seeds, ``(blocks,)`` per side, and ``distance``: per
        side, the largest difference of a block's mean from the reference's, in standard errors of
        that difference; about 2 to 3 is what chance gives with a few blocks.
    """
    parts = {
        name: np.stack([part.mean(1) for part in np.array_split(np.array(runs), blocks, axis=1)], 1)
        for name, runs in losses.items()
    }
    means = {name: part.mean(0) for name, part in parts.items()}
    spread = {name: part.std(0, ddof=1) for name, part in parts.items()}
    reference = parts["reference"]
    distance = {}
    for name, part in parts.items():
        if name == "reference":
            continue
        # One deviation for all blocks: that of a single block has very few degrees of freedom.
        variance = (
            part.var(0, ddof=1) / len(part) + reference.var(0, ddof=1) / len(reference)
        ).mean()
        distance[name] = float(np.abs(means[name] - means["reference"]).max() / np.sqrt(variance))
    return {
        "means": {name: values.tolist() for name, values in means.items()},
        "deviations": {name: values.tolist() for name, values in spread.items()},
        "distance": distance,
    }
