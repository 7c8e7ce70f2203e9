"""Rows that compare Rankwright with itself and with the machine."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.engine.bench import Bench
from benchmarks.engine.client import alternate
from benchmarks.engine.results import summary

__all__ = [
    "compiled_row",
    "compiled_training_row",
    "prepacked_row",
    "quality_row",
    "share_row",
]


def share_row(bench: Bench) -> dict[str, Any]:
    """What part of the rate of bare matrix products scoring A reaches."""
    s = bench.settings
    work = bench.ours.ask("work", file=bench.pairs_file("A", s.predict_pairs), count=10**9)
    peak = bench.ours.ask("peak", seconds=s.peak_seconds)
    shares: dict[str, Any] = {}
    for precision in ("auto", "float32"):
        bench.predict(bench.ours, precision, None, "share")
        rates = [bench.predict(bench.ours, precision, None, "share") for _ in range(s.repeats)]
        reached = work["flops"] / (work["pairs"] / median(rates))
        kind = work["auto"] if precision == "auto" else precision
        # Nothing in PyTorch multiplies 16-bit integers, whose own peak is hence not known.
        of = kind if kind in peak else "float32"
        shares[precision] = {"kind": kind, "flops": reached, "of": of, "share": reached / peak[of]}
    return {"group": "predict", "title": "share of peak", "work": work, "peak": peak} | {
        "shares": shares
    }


def prepacked_row(bench: Bench) -> dict[str, Any]:
    """Ours on A with prepacked products wherever they are possible, and without them, in turn."""
    auto = bench.ours.ask("work", file=bench.pairs_file("A", 1), count=1)["auto"]
    kinds = {"bfloat16": "auto"} if auto == "bfloat16" else {}
    rates: dict[str, Any] = {}
    for kind, precision in {**kinds, "float32": "float32"}.items():

        def once(on: bool, precision: str = precision) -> Callable[[int], float]:
            def measured(_: int) -> float:
                bench.ours.ask("prepacking", on=on)
                return bench.predict(bench.ours, precision, None, "prepacked")

            return measured

        try:
            alternate(once(True), once(False), 1)
            values = alternate(once(True), once(False), bench.settings.repeats)
        finally:
            told = bench.ours.ask("prepacking", on=None)
        on, off = (summary(what, side) for what, side in zip(("on", "off"), values, strict=True))
        rates[kind] = {"on": on, "off": off, "gain": on["median"] / off["median"], **told[kind]}
    return {"group": "predict", "title": "prepacked products", "rates": rates}


def compiled_row(bench: Bench) -> dict[str, Any]:
    """Ours on A in the compiled library, in both of its formats, and in PyTorch, in turn."""
    reason = bench.ours.ask("compiling", bits=None)["unavailable"]
    rates: dict[str, list[float]] = {"int16": [], "float32": [], "PyTorch": []}
    for repeat in range(-1, 0 if reason else bench.settings.repeats):
        for kind, bits in (("int16", 16), ("float32", 32), ("PyTorch", 0)):
            bench.ours.ask("compiling", bits=bits)
            rate = bench.predict(bench.ours, "float32", None, "compiled")
            if repeat >= 0:
                rates[kind].append(rate)
    told = bench.ours.ask("compiling", bits=None)
    sides = {kind: summary(kind, values) for kind, values in rates.items() if values}
    return {"group": "predict", "title": "compiled library", "rates": sides, **told}


def quality_row(bench: Bench) -> dict[str, Any]:
    """Rankings in bfloat16, and in int16 where that can be, against those in float32."""
    s = bench.settings
    found = bench.ours.ask(
        "quality",
        data=None if bench.data is None else str(bench.data),
        train_on="A" if bench.data is None else "B",
        steps=s.quality_steps,
        queries=s.quality_queries,
        depth=s.quality_depth,
        work=str(bench.work / "trainer"),
    )
    return {"group": "quality", "title": "narrow formats against float32", **found}


def compiled_training_row(bench: Bench) -> dict[str, Any]:
    """Ours training on A in the compiled library and in PyTorch, in turn."""
    reason = bench.ours.ask("compiling", bits=None)["unavailable"]
    plan = bench.training("A", "fp32")
    rates: dict[str, list[float]] = {"compiled": [], "PyTorch": []}
    for repeat in range(0 if reason else bench.settings.repeats):
        for kind, bits in (("compiled", 32), ("PyTorch", 0)):
            bench.ours.ask("compiling", bits=bits)
            answer = bench.ours.ask("train", seed=bench.settings.seed + repeat, **plan)
            rates[kind].append(answer["pairs_per_second"])
    told = bench.ours.ask("compiling", bits=None)
    sides = {kind: summary(kind, values) for kind, values in rates.items() if values}
    return {"group": "train", "title": "compiled training", "rates": sides, **told}
