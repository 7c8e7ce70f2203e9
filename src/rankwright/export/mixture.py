"""Which parts of a model stay in float32 when all of it in 8 bits is not good enough.

Each part is tried alone in 8 bits; those that do most harm are kept in float32, as few as suffice.
The number of tries is bounded, because each one quantises and runs the whole model.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankwright.export.agreement import Agreement, Limits

__all__ = ["Mixture", "find_mixture"]

logger = logging.getLogger(__name__)

Try = Callable[[frozenset[str]], Agreement]
"""Quantises all parts but the given ones, and says how well the result agrees."""


@dataclass(frozen=True)
class Mixture:
    """What `find_mixture` found.

    Attributes:
        kept: Parts in float32, in the order of the model; None if no mixture was good enough.
        agreement: Of that mixture; of everything in 8 bits where there is none.
        tries: How many mixtures were tried.
    """

    kept: tuple[str, ...] | None
    agreement: Agreement
    tries: int


def find_mixture(units: Sequence[str], attempt: Try, limits: Limits, max_tries: int) -> Mixture:
    """The fewest parts in float32 that keep the limits, as far as ``max_tries`` tell.

    Args:
        units: The parts that can be quantised, in order.
        attempt: Tries a mixture; the last one it is called with is the one that is returned.
        limits: What must be reached.
        max_tries: Most calls of ``attempt``, at least 1.
    """
    whole = attempt(frozenset())
    tries = 1
    if limits.accept(whole) or len(units) < 2:
        return Mixture(() if limits.accept(whole) else None, whole, tries)
    # Half of the tries at most tell parts apart; more parts than that are tried in groups.
    groups = _groups(units, max(2, (max_tries - 1) // 2))
    harm: dict[tuple[str, ...], float] = {}
    for group in groups:
        if tries >= max_tries:
            return Mixture(None, whole, tries)
        found = attempt(frozenset(units) - frozenset(group))
        tries += 1
        harm[group] = found.rms_difference  # less noisy than the measures that have limits
        logger.info("%s in 8 bits, the rest in float32: %s", _named(group), found)
    order = sorted(groups, key=lambda group: -harm[group])
    return _fewest(units, order, attempt, limits, (whole, tries, max_tries))


def _fewest(
    units: Sequence[str],
    order: Sequence[tuple[str, ...]],
    attempt: Try,
    limits: Limits,
    state: tuple[Agreement, int, int],
) -> Mixture:
    """Bisects how many of the groups, most harmful first, must be kept."""
    whole, tries, max_tries = state
    low, high = 1, len(order) - 1  # at least one group stays in 8 bits
    best: tuple[frozenset[str], Agreement] | None = None
    last: frozenset[str] = frozenset()
    while low <= high and tries < max_tries:
        # Small numbers first: most models need one or two.
        count = low if best is None and low < 3 else (low + high) // 2
        last = frozenset(unit for group in order[:count] for unit in group)
        found = attempt(last)
        tries += 1
        logger.info("%s in float32: %s", _named(sorted(last)), found)
        if limits.accept(found):
            best, high = (last, found), count - 1
        else:
            low = count + 1
    if best is None:
        return Mixture(None, whole, tries)
    if last != best[0]:
        attempt(best[0])  # so that what it left behind is the one that is returned
    kept = tuple(unit for unit in units if unit in best[0])
    return Mixture(kept, best[1], tries)


def _groups(units: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Neighbouring parts in at most ``most`` groups of nearly equal size."""
    count = min(most, len(units))
    edges = [len(units) * i // count for i in range(count + 1)]
    return [tuple(units[a:b]) for a, b in itertools.pairwise(edges)]


def _named(units: Sequence[str]) -> str:
    return ", ".join(units)
