"""One `PairBuilder` for several losses over the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rankwright.errors import InputError
from rankwright.losses.in_batch import InBatchPairBuilder
from rankwright.losses.pairs import LAYOUTS, LabelRule, PairBuilder

__all__ = ["combine_builders"]


def combine_builders(name: str, terms: Sequence[tuple[PairBuilder, str | float]]) -> PairBuilder:
    """What builds rows that every one of these losses can use.

    Args:
        name: Name of the loss, for messages.
        terms: Of each loss its own builder, and what it sees as labels: ``"given"``, ``"first"``
            or a threshold, see `LossTerm`.

    Raises:
        InputError: They have no layout in common, or their labels exclude each other.
    """
    builders = [builder for builder, _ in terms]
    for builder in builders:
        if type(builder) not in (PairBuilder, InBatchPairBuilder):
            raise InputError(
                f"{name} cannot combine {builder.loss}: it builds rows in a way of its own, "
                f"{type(builder).__name__}."
            )
    layouts = _layouts(name, terms)
    in_batch = [b for b in builders if isinstance(b, InBatchPairBuilder)]
    if in_batch:
        return _with_negatives(name, builders, in_batch)
    given = [builder for builder, labels in terms if labels == "given"]
    thresholds = any(not isinstance(labels, str) for _, labels in terms)
    return PairBuilder(
        name,
        layouts,
        _rule(name, [builder.labels for builder in given]),
        first_is_positive=not thresholds and all(b.first_is_positive for b in given),
        margins=bool(given) and not thresholds and all(b.margins for b in given),
        prompt=builders[0].prompt,
    )


def _layouts(name: str, terms: Sequence[tuple[PairBuilder, str | float]]) -> tuple[str, ...]:
    usable = [[x for x in b.layouts if x != "pairs" or made != "first"] for b, made in terms]
    common = tuple(x for x in usable[0] if all(x in others for others in usable))
    if not common:
        each = "; ".join(
            f"{b.loss} takes {' or '.join(LAYOUTS[x] for x in names) or 'none'}"
            for (b, _), names in zip(terms, usable, strict=True)
        )
        raise InputError(
            f"{name} scores the same rows for all its losses, but they have no layout of columns "
            f"in common: {each}."
        )
    return common


def _rule(name: str, rules: Sequence[LabelRule]) -> LabelRule:
    lows = [rule.low for rule in rules if rule.low is not None]
    highs = [rule.high for rule in rules if rule.high is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        raise InputError(f"{name}: no label is at least {low:g} and at most {high:g}.")
    return LabelRule(low, high, any(rule.integer for rule in rules))


def _with_negatives(
    name: str, builders: Sequence[PairBuilder], in_batch: Sequence[InBatchPairBuilder]
) -> PairBuilder:
    if len({replace(builder, loss=name) for builder in in_batch}) > 1:
        losses = ", ".join(builder.loss for builder in in_batch)
        raise InputError(
            f"{name}: {losses} must draw the same negatives; give them the same num_negatives and "
            "seed."
        )
    for builder in builders:
        if builder.margins or not (builder.labels.allows(0.0) and builder.labels.allows(1.0)):
            raise InputError(
                f"{name}: with in-batch negatives labels are 1 and 0, which {builder.loss} does "
                "not take."
            )
    return replace(in_batch[0], loss=name)
