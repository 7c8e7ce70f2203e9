"""Mixing the reranker's scores with those of the first stage.

A reranker is now and then fooled by a document that no sensible first stage would rate highly. A
convex combination of the two scores is cheap insurance, and its one parameter needs few examples
(Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid Retrieval",
arXiv 2210.11934). ``rankwright.evaluation.tuning`` finds the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rankwright.data.types import Run
from rankwright.errors import ConfigError, InputError, ScoreError
from rankwright.evaluation.measures import ranked_ids

__all__ = ["NORMALISATIONS", "Fusion", "normalise"]

_Floats = npt.NDArray[np.float64]

NORMALISATIONS = ("min-max", "z-score", "none")


def normalise(scores: npt.ArrayLike, normalisation: str) -> _Floats:
    """Brings the scores of one list, shape (n,), onto a common scale.

    ``min-max``: ``(s - min) / (max - min)``; ``z-score``: ``(s - mean) / standard deviation``
    (of the population); ``none``: as they are. A list whose scores are all equal says nothing
    about the order and becomes zeros under the first two.

    Raises:
        ScoreError: A score is NaN or infinite.
        InputError: An unknown normalisation, or not a flat list.
    """
    if normalisation not in NORMALISATIONS:
        raise _unknown_normalisation(normalisation)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"Expected one list of scores, shape (n,), not shape {values.shape}.")
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ScoreError(
            f"Score {at} of the list is {values[at]}; only finite scores can be mixed."
        )
    if normalisation == "none" or not values.size:
        return values
    # Halves first: the span of two finite numbers can itself overflow.
    low, span = values.min() / 2, values.max() / 2 - values.min() / 2
    if span == 0:
        return np.zeros_like(values)
    unit: _Floats = (values / 2 - low) / span
    if normalisation == "z-score":
        unit = (unit - unit.mean()) / unit.std()
    return unit


@dataclass(frozen=True)
class Fusion:
    """``weight * first stage + (1 - weight) * reranker``, each list on a common scale.

    Attributes:
        weight: Share of the first stage, from 0 (the reranker alone) to 1 (the first stage alone).
        normalisation: How the scores of each query's list are scaled before mixing; one of
            ``"min-max"``, ``"z-score"`` and ``"none"``, see :func:`normalise`.
        first_stage: Name of the first stage that the weight was tuned for, such as ``"bm25"``.

    Raises:
        InputError: A weight outside [0, 1], or an unknown normalisation.
    """

    weight: float = 0.0
    normalisation: str = "min-max"
    first_stage: str = "first-stage"

    def __post_init__(self) -> None:
        if isinstance(self.weight, bool) or not isinstance(self.weight, (int, float, np.number)):
            raise InputError(f"weight is {self.weight!r}; it must be a number from 0 to 1.")
        if not 0.0 <= self.weight <= 1.0:
            raise InputError(
                f"weight is {self.weight}; it must be from 0 (the reranker alone) to 1 (the first "
                "stage alone)."
            )
        if self.normalisation not in NORMALISATIONS:
            raise _unknown_normalisation(self.normalisation)
        if not isinstance(self.first_stage, str) or not self.first_stage:
            raise InputError(f"first_stage is {self.first_stage!r}; give its name, such as 'bm25'.")
        object.__setattr__(self, "weight", float(self.weight))

    def fuse(self, scores: npt.ArrayLike, first_stage_scores: npt.ArrayLike) -> _Floats:
        """Mixed scores of one query's candidates.

        Args:
            scores: Scores of the reranker, shape (n,).
            first_stage_scores: Scores of the first stage for the same n documents, shape (n,).

        Returns:
            Shape (n,), float64.

        Raises:
            InputError: The two lists are not equally long.
            ScoreError: A score is NaN or infinite.
        """
        reranker = normalise(scores, self.normalisation)
        first = normalise(first_stage_scores, self.normalisation)
        if reranker.shape != first.shape:
            raise InputError(
                f"{len(reranker)} scores of the reranker but {len(first)} of the first stage; both "
                "must be for the same documents in the same order."
            )
        return self._mix(reranker, first)

    def apply(self, reranked: Run, first_stage: Run) -> Run:
        """Mixes two runs query by query; each result lists its documents best first.

        The result holds every document of either run. A document that one of the two lists lacks
        gets that list's lowest score there (after scaling; 0 if the whole list is missing).
        Scaling sees each list as it is given, so cut the first stage to the depth that was
        reranked if that is how the mixture will be served.

        Raises:
            ScoreError: A score is NaN or infinite; the message names the query.
        """
        fused: Run = {}
        for query_id in {**reranked, **first_stage}:
            documents, reranker, first = aligned_lists(
                reranked.get(query_id, {}),
                first_stage.get(query_id, {}),
                self.normalisation,
                query_id,
            )
            scores = dict(zip(documents, self._mix(reranker, first).tolist(), strict=True))
            fused[query_id] = {doc: scores[doc] for doc in ranked_ids(scores, query_id)}
        return fused

    def _mix(self, reranker: _Floats, first: _Floats) -> _Floats:
        mixed: _Floats = self.weight * first + (1.0 - self.weight) * reranker
        return mixed

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fusion:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigError: Missing or unknown keys, or values that do not hold.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(names):
            found = sorted(map(str, values)) if isinstance(values, Mapping) else repr(values)
            raise ConfigError(f"A fusion has exactly the keys {names}; found {found}.")
        try:
            return cls(**values)
        except InputError as error:
            raise ConfigError(f"Invalid fusion: {error}") from error


def aligned_lists(
    reranked: Mapping[str, float],
    first_stage: Mapping[str, float],
    normalisation: str,
    query_id: str,
) -> tuple[list[str], _Floats, _Floats]:
    """The union of two lists: document ids (descending), and both scaled scores, shape (n,).

    Ids in descending order make a stable sort by falling score obey the tie rule of runs.
    """
    documents = sorted({**reranked, **first_stage}, reverse=True)
    scaled = []
    for name, scores in (("reranker", reranked), ("first stage", first_stage)):
        try:
            values = normalise(np.fromiter(scores.values(), np.float64, len(scores)), normalisation)
        except ScoreError as error:
            raise ScoreError(f"Query '{query_id}', {name}: {error}") from None
        lowest = float(values.min()) if values.size else 0.0
        known = dict(zip(scores, values.tolist(), strict=True))
        scaled.append(np.array([known.get(doc, lowest) for doc in documents], dtype=np.float64))
    return documents, scaled[0], scaled[1]


def _unknown_normalisation(found: object) -> InputError:
    return InputError(
        f"Unknown normalisation {found!r}. Choose from "
        + ", ".join(f"'{name}'" for name in NORMALISATIONS)
        + "."
    )
