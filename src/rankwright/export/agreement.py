"""How far two lists of scores for the same golden pairs agree, and how far they must.

Per query, Kendall's tau-b (Kendall 1945, "The treatment of ties in ranking problems") compares
the two orders, nDCG@10 says what a user would notice at the top, and the largest difference of
scores what a threshold on them would. With labels nDCG uses them; without, the reference's own
order counts as the truth: its best document has grade 10, the next 9, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import InputError
from rankwright.model.golden import Golden

__all__ = ["CHANCE", "LIMITS", "Agreement", "Limits", "compare", "kendall_tau", "limits_for"]

Floats = NDArray[np.float32]
_TOP = 10


@dataclass(frozen=True)
class Agreement:
    """What `compare` found.

    Attributes:
        kendall_tau: Mean over queries; 1 for equal orders.
        ndcg_drop: nDCG@10 of the reference less that of the other; negative where it gained.
        ndcg_error: Standard error of that mean over queries: a drop much smaller than this cannot
            be told from none.
        queries: How many queries nDCG@10 was measured on.
        difference: Largest difference of two scores, as a part of the reference's range.
        max_score_difference: The same as it is.
        rms_difference: Root of the mean squared difference, as a part of the range; no limit is set
            on it, but it tells best which parts of a model do harm.
    """

    kendall_tau: float
    ndcg_drop: float
    ndcg_error: float
    queries: int
    difference: float
    max_score_difference: float
    rms_difference: float

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {name: round(value, 8) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"Kendall tau {self.kendall_tau:.4f}, nDCG@10 {-self.ndcg_drop or 0.0:+.4f} on "
            f"{self.queries} queries (standard error {self.ndcg_error:.4f}), largest difference of "
            f"scores {self.max_score_difference:.2g} ({self.difference:.2%} of their range)"
        )


@dataclass(frozen=True)
class Limits:
    """What an export must reach to be kept.

    Attributes:
        kendall_tau: At least this.
        ndcg_drop: At most this.
        difference: At most this part of the range of the reference's scores.
        chance: How many standard errors of a drop are put down to chance. With 0 the drop itself
            must keep its limit, which few queries decide by luck.
    """

    kendall_tau: float
    ndcg_drop: float
    difference: float
    chance: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.kendall_tau <= 1:
            raise InputError(f"The least Kendall tau is {self.kendall_tau}; it lies from -1 to 1.")
        if min(self.ndcg_drop, self.difference, self.chance) < 0:
            raise InputError("The largest nDCG drop and difference of scores must be 0 or more.")

    def violation(self, found: Agreement) -> float:
        """How many times the worst measure exceeds its limit; at most 1 is good."""
        parts = (
            ((1 - found.kendall_tau), (1 - self.kendall_tau)),
            (self._certain(found), self.ndcg_drop),
            (found.difference, self.difference),
        )
        return max(0.0 if x <= 0 else x / limit if limit > 0 else np.inf for x, limit in parts)

    def _certain(self, found: Agreement) -> float:
        """The part of a drop that is not put down to chance."""
        return found.ndcg_drop - self.chance * found.ndcg_error

    def accept(self, found: Agreement) -> bool:
        """Whether all limits are kept."""
        return self.violation(found) <= 1

    def complaint(self, found: Agreement) -> str:
        """Which limits are broken, for people."""
        broken = []
        if found.kendall_tau < self.kendall_tau:
            broken.append(
                f"Kendall tau is {found.kendall_tau:.4f}, at least {self.kendall_tau} is needed"
            )
        if self._certain(found) > self.ndcg_drop:
            broken.append(
                f"nDCG@10 drops by {found.ndcg_drop:.4f} on {found.queries} queries (standard "
                f"error {found.ndcg_error:.4f}), at most {self.ndcg_drop} is allowed"
            )
        if found.difference > self.difference:
            broken.append(
                f"a score differs by {found.difference:.2%} of their range, at most "
                f"{self.difference:.2%} is allowed"
            )
        return "; ".join(broken)


LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(kendall_tau=0.999, ndcg_drop=0.0005, difference=0.001),
    "bf16": Limits(kendall_tau=0.95, ndcg_drop=0.003, difference=0.05),
    "int16": Limits(kendall_tau=0.98, ndcg_drop=0.001, difference=0.02),
    "int8": Limits(kendall_tau=0.90, ndcg_drop=0.003, difference=0.20),
}
"""By precision."""

CHANCE = 2.0
"""Standard errors that are put down to chance where only golden pairs tell of nDCG: on 48 queries
it is known to 0.01 or 0.02, far less well than its limits."""


def limits_for(precision: str, **changes: float | None) -> Limits:
    """The limits of a precision, some of them changed.

    A drop of nDCG that is named is meant as it is; else `CHANCE` is allowed for.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    chance = 0.0 if "ndcg_drop" in given else CHANCE
    return replace(LIMITS[precision], **{"chance": chance} | given)


ROUNDING = 1e-5
"""Scores nearer to each other than this part of their range count as equal."""


def compare(golden: Golden, scores: Floats) -> Agreement:
    """How well scores agree with the golden ones.

    Several labels are compared one by one: tau and nDCG are means over them.

    Args:
        golden: P pairs and their reference.
        scores: ``(P,)`` or ``(P, num_labels)``, after the activation.

    Raises:
        InputError: Another number of scores.
    """
    reference = np.asarray(golden.scores, np.float64)
    found = np.asarray(scores, np.float64).reshape(len(scores), -1)
    if found.shape != reference.shape:
        raise InputError(f"There are {found.shape} scores for golden pairs with {reference.shape}.")
    # Equal texts, such as long ones cut alike, differ by rounding only: that is no other order.
    step = max(float(reference.max() - reference.min()), 1e-12) * ROUNDING
    settled = np.round(reference / step) * step
    nearest = np.where(np.abs(found - reference) <= step, settled, found)
    taus: list[float] = []
    drops: list[float] = []
    for query, where in golden.slices():
        for label in range(reference.shape[1]):
            a, b = settled[where, label], nearest[where, label]
            if len(a) < 2:
                continue
            taus.append(kendall_tau(a, b))
            grades = _grades(a, query.labels if reference.shape[1] == 1 else None)
            drops.append(_ndcg(grades, a) - _ndcg(grades, b))
    largest = float(np.abs(found - reference).max())
    rms = float(np.sqrt(np.mean((found - reference) ** 2)))
    span = float(reference.max() - reference.min())
    return Agreement(
        kendall_tau=float(np.mean(taus)) if taus else 1.0,
        ndcg_drop=float(np.mean(drops)) if drops else 0.0,
        ndcg_error=float(np.std(drops, ddof=1) / np.sqrt(len(drops))) if len(drops) > 1 else 0.0,
        queries=len(drops),
        difference=largest / span if span > 0 else float(largest > 0),
        max_score_difference=largest,
        rms_difference=rms / span if span > 0 else float(rms > 0),
    )


def kendall_tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two lists of n >= 2 numbers, in O(n²); 1 where both are all ties."""
    upper = np.triu_indices(len(a), 1)
    first = np.sign(a[:, None] - a)[upper]
    second = np.sign(b[:, None] - b)[upper]
    norm = float(np.abs(first).sum() * np.abs(second).sum())
    if norm == 0.0:
        return float(not first.any() and not second.any())
    return float((first * second).sum() / np.sqrt(norm))


def _grades(reference: NDArray[np.float64], labels: tuple[int, ...] | None) -> NDArray[np.float64]:
    if labels is not None and any(label > 0 for label in labels):
        return np.maximum(np.asarray(labels, np.float64), 0.0)
    grades = np.zeros(len(reference))
    order = np.argsort(-reference, kind="stable")[:_TOP]
    grades[order] = _TOP - np.arange(len(order))
    return grades


def _ndcg(grades: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """nDCG@10 with linear gains (Järvelin and Kekäläinen 2002); ties in the order of the list."""
    order = np.argsort(-scores, kind="stable")[:_TOP]
    discounts = 1.0 / np.log2(np.arange(2, len(order) + 2))
    best = np.sort(grades)[::-1][: len(order)]
    return float((grades[order] @ discounts) / (best @ discounts))
