"""The table at the end of a run, and the sentence under it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rankwright.data.types import Qrels, Run
from rankwright.evaluation import Evaluation, evaluate_run, paired_test

__all__ = ["PipelineResult", "System", "judge"]

BASE, TUNED, FUSED = "base", "tuned", "tuned + first stage"


@dataclass(frozen=True)
class System:
    """One row of the table: a name, its ranked lists, and its speed where it has one."""

    name: str
    run: Run
    pairs_per_second: float | None = None


@dataclass(frozen=True)
class PipelineResult:
    """What a training run found out.

    Attributes:
        rows: One dict per system: ``system``, every measure, ``pairs_per_second``.
        better: Whether the tuned system beats every first stage and the base.
        verdict: The same in a sentence or two, with the uncertainty.
        model_path: Folder of the model; None if it was not better.
        output: Folder of the run.
        warnings: What the user should know about the data or the result.
        seconds: Wall time of the whole run.
        comparison: Difference to the best first stage: ``difference``, ``ci_low``, ``ci_high``,
            ``p_value``, ``queries``.
        fusion: The stored mixture with the first stage, or None.
    """

    rows: list[dict[str, Any]]
    better: bool
    verdict: str
    model_path: str | None
    output: str
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    comparison: dict[str, float] = field(default_factory=dict)
    fusion: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """Rows, verdict and what they rest on."""

    rows: list[dict[str, Any]]
    better: bool
    verdict: str
    comparison: dict[str, float]


def judge(
    systems: list[System], first_stages: list[str], qrels: Qrels, measures: tuple[str, ...]
) -> Judgement:
    """Compares all systems on the test queries.

    The last system is the one to judge. It is better if its first measure is above that of every
    first stage and of the base.

    Args:
        systems: First stages, base, tuned, and perhaps tuned + first stage, in this order.
        first_stages: Names of those that are first stages.
        qrels: Judgements of the test split.
        measures: What to report; the first one decides.
    """
    found = {s.name: evaluate_run(qrels, s.run, measures) for s in systems}
    rows: list[dict[str, Any]] = [
        {
            "system": s.name,
            **{m: found[s.name].mean[m] for m in measures},
            "pairs_per_second": s.pairs_per_second,
        }
        for s in systems
    ]
    main, final = measures[0], systems[-1].name
    first = max(first_stages, key=lambda name: found[name].mean[main])
    others = [first, *(name for name in (BASE,) if name in found)]
    value = found[final].mean[main]
    better = all(value > found[name].mean[main] for name in others)
    comparison = _compare(found[final], found[first], main)
    return Judgement(rows, better, _verdict(final, first, found, main, better), comparison)


def _compare(a: Evaluation, b: Evaluation, measure: str) -> dict[str, float]:
    return asdict(paired_test(a.per_query[measure], b.per_query[measure]))


def _verdict(
    final: str, first: str, found: dict[str, Evaluation], measure: str, better: bool
) -> str:
    value, before = found[final].mean[measure], found[first].mean[measure]
    test = _compare(found[final], found[first], measure)
    margin = (
        f"{measure} {value:.3f} against {before:.3f} of the best first stage ({first}): "
        f"{test['difference']:+.3f}, 95 % interval {test['ci_low']:+.3f} to {test['ci_high']:+.3f} "
        f"over {test['queries']:.0f} test queries"
    )
    if better and test["ci_low"] > 0:
        return f"Better. '{final}' reaches {margin}."
    if better:
        return (
            f"Probably better, not certainly: '{final}' reaches {margin}. The interval includes "
            "zero; more test queries would tell."
        )
    if BASE in found and value <= found[BASE].mean[measure]:
        return (
            f"NOT BETTER. '{final}' reaches {measure} {value:.3f}, and the base had "
            f"{found[BASE].mean[measure]:.3f} before training. Keep the base."
        )
    return f"NOT BETTER. '{final}' reaches {margin}. Keep using the first stage alone."
