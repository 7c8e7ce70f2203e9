"""How good a ranking is: TREC measures through ir-measures, under one documented tie rule.

Measures are named as ir-measures names them (https://ir-measur.es): ``nDCG@10``, ``RR@10``,
``AP``, ``P@5``, ``R@100``, ``Success@1``, ``Rprec``, ``Judged@10``, ``AP(rel=2)``.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rankwright.data.types import Qrels, Run
from rankwright.errors import EmptyDataError, InputError, InputTypeError, ScoreError

__all__ = ["DEFAULT_MEASURES", "Evaluation", "evaluate_rankings", "evaluate_run", "ranked_ids"]

logger = logging.getLogger(__name__)

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "AP")

# Lower-cased everyday names -> the name ir-measures uses.
_ALIASES = {
    "ndcg": "nDCG",
    "mrr": "RR",
    "rr": "RR",
    "map": "AP",
    "ap": "AP",
    "recall": "R",
    "r": "R",
    "precision": "P",
    "p": "P",
    "success": "Success",
    "hit": "Success",
    "hits": "Success",
    "hitrate": "Success",
    "accuracy": "Success",
    "judged": "Judged",
    "rprec": "Rprec",
    "bpref": "Bpref",
}
_NEEDS_CUTOFF = ("P", "R", "Success", "Judged")
_CHOICES = (
    "nDCG@k, RR@k (or MRR@k), AP (or MAP), AP@k, P@k (Precision@k), R@k (Recall@k), "
    "Success@k (Hit@k, Accuracy@k), Rprec, Bpref and Judged@k, with k such as 10, and (rel=2) "
    "before the @ to count only grades of 2 and above as relevant"
)


@dataclass(frozen=True)
class Evaluation:
    """What a run is worth.

    Attributes:
        mean: Measure -> mean over all counted queries. Keys are the names that were asked for.
        per_query: Measure -> query id -> value.
        queries: How many queries count: those with at least one relevant document.
        missing: How many of them the run has no document for; each of those scores 0.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]
    queries: int
    missing: int


def ranked_ids(scores: Mapping[str, float], query_id: str) -> list[str]:
    """Document ids, best first: score descending, equal scores by document id descending.

    That is the rule of ``trec_eval``, except that scores are compared in full double precision,
    whereas ``trec_eval`` rounds them to single precision first and so makes ties of its own.

    Raises:
        ScoreError: A score is NaN.
    """
    for document_id, score in scores.items():
        if math.isnan(score):
            raise ScoreError(
                f"The score of document '{document_id}' for query '{query_id}' is NaN, so the list "
                "has no order. Look for overflow in the model (half precision?) or for a broken "
                "line in the run file."
            )
    # A pair sorted in reverse gives both rules at once.
    pairs = sorted(((score, doc) for doc, score in scores.items()), reverse=True)
    return [document_id for _, document_id in pairs]


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str] = DEFAULT_MEASURES) -> Evaluation:
    """Judges a run, query by query and on average.

    Every query of ``qrels`` with at least one document of grade 1 or more counts; one for which
    the run has nothing scores 0 and is never left out. Queries that are only in the run are
    ignored, and their number is logged. Ties are broken as :func:`ranked_ids` says.

    Args:
        qrels: Query id -> document id -> grade; 1 and above is relevant. nDCG uses the grade
            itself as gain and a discount of ``log2(rank + 1)`` (Järvelin and Kekäläinen 2002, as
            in ``trec_eval``). Grades below 0 count as 0.
        run: Query id -> document id -> score, higher is better.
        measures: Names as in ir-measures, or the everyday ``MRR@10``, ``MAP``, ``NDCG@10``,
            ``Recall@100``, ``Hit@1``.

    Raises:
        InputError: An unknown measure; the message lists the choices.
        EmptyDataError: No query of ``qrels`` has a relevant document.
        ScoreError: A score is NaN.
    """
    foreign = sum(1 for query_id in run if query_id not in qrels)
    if foreign:
        logger.info("%d queries of the run are not in the judgements and are ignored", foreign)
    rankings = {
        query_id: ranked_ids(scores, query_id)
        for query_id, scores in run.items()
        if query_id in qrels
    }
    return evaluate_rankings(qrels, rankings, measures)


def evaluate_rankings(
    qrels: Qrels, rankings: Mapping[str, Sequence[str]], measures: Sequence[str] = DEFAULT_MEASURES
) -> Evaluation:
    """As :func:`evaluate_run`, for lists of distinct document ids that are already in order."""
    if isinstance(measures, str):
        raise InputTypeError(
            f"measures is the string '{measures}'; give a list of names: ['{measures}']."
        )
    if not measures:
        raise InputError(f"measures is empty. Choose from {_CHOICES}.")
    for name in measures:
        if not isinstance(name, str):
            raise InputTypeError(f"A measure is a name such as 'nDCG@10', not {name!r}.")
    parsed = {name: _parse(name) for name in measures}
    judged = {
        query_id: {document_id: max(int(grade), 0) for document_id, grade in grades.items()}
        for query_id, grades in qrels.items()
        if any(grade >= 1 for grade in grades.values())
    }
    if not judged:
        raise EmptyDataError(
            f"None of the {len(qrels)} judged queries has a relevant document (a grade of 1 or "
            "more), so there is nothing to measure. Check that the judgements belong to this split "
            "and that their last column is the grade."
        )
    # Distinct falling integers leave no tie for any backend to break in its own way.
    run = {
        query_id: {document_id: float(-rank) for rank, document_id in enumerate(ranking)}
        for query_id, ranking in rankings.items()
        if query_id in judged and ranking
    }
    found: dict[Any, dict[str, float]] = {measure: {} for measure in parsed.values()}
    for metric in _backend().evaluator(list(found), judged).iter_calc(run):
        found[metric.measure][metric.query_id] = float(metric.value)
    per_query = {
        name: {query_id: found[measure].get(query_id, 0.0) for query_id in judged}
        for name, measure in parsed.items()
    }
    return Evaluation(
        mean={name: math.fsum(v.values()) / len(v) for name, v in per_query.items()},
        per_query=per_query,
        queries=len(judged),
        missing=len(judged) - len(run),
    )


@lru_cache(maxsize=256)
def _parse(name: str) -> Any:
    """The ir-measures object of a name, or an error that lists the choices."""
    import ir_measures

    family = re.match(r"[^@(]*", name.strip())
    head = family.group() if family else ""
    official = _ALIASES.get(head.lower(), head)
    unknown = InputError(f"Unknown measure '{name}'. Choose from {_CHOICES}.")
    try:
        measure = ir_measures.parse_measure(official + name.strip()[len(head) :])
        measure.validate_params()
    except (NameError, ValueError, AssertionError, KeyError, TypeError, SyntaxError):
        raise unknown from None
    cutoff = measure.params.get("cutoff")
    if (measure.NAME in _NEEDS_CUTOFF and cutoff is None) or (cutoff is not None and cutoff < 1):
        raise InputError(
            f"Measure '{name}' needs a cutoff of 1 or more, for example '{official}@10'."
        )
    if measure.params.get("rel", 1) < 1:
        raise InputError(f"Measure '{name}': rel is the lowest relevant grade and at least 1.")
    if not _backend().supports(measure):
        raise unknown
    return measure


@lru_cache(maxsize=1)
def _backend() -> Any:
    import ir_measures

    # Only backends that run in this process: ir-measures' own list includes Perl scripts.
    return ir_measures.providers.FallbackProvider(
        [ir_measures.pytrec_eval, ir_measures.judged, ir_measures.msmarco]
    )
