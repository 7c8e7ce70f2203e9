"""Splits by query, so that no query is on two sides.

A query's place depends on its own text and the seed alone: not on ids, not on the order of rows.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from rankwright.data.options import LoadOptions
from rankwright.data.types import Qrels, RankingData
from rankwright.errors import EmptyDataError

__all__ = [
    "SPLITS",
    "Leak",
    "canonical_split",
    "fill_splits",
    "find_leaks",
    "limit_queries",
    "normalise_query",
    "ordered_splits",
    "split_queries",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

SPLITS = ("train", "dev", "test")

SPLIT_ALIASES = {
    "training": "train",
    "development": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "eval": "dev",
    "testing": "test",
}


def canonical_split(name: str) -> str:
    """Our name of a split: ``validation`` is ``dev``; a name without alias stays as it is."""
    folded = name.casefold()
    return folded if folded in SPLITS else SPLIT_ALIASES.get(folded, name)


def normalise_query(text: str) -> str:
    """The form in which two queries are the same: NFKC, case folded, white space collapsed."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # folding can undo the composition of a few letters, so it is composed again
    return " ".join(unicodedata.normalize("NFKC", folded).split())


@dataclass(frozen=True)
class Leak:
    """One query that stands on more than one side.

    Attributes:
        query: Its normalised text.
        splits: The splits it is in, in the order of the data.
        query_ids: The ids that carry it, in the order of the data.
    """

    query: str
    splits: tuple[str, ...]
    query_ids: tuple[str, ...]


def find_leaks(qrels: Mapping[str, Qrels], queries: Mapping[str, str]) -> list[Leak]:
    """Queries whose normalised text is in two or more splits.

    Args:
        qrels: Split name -> judgements.
        queries: Query id -> text.
    """
    seen: dict[str, dict[str, list[str]]] = {}
    for split, judged in qrels.items():
        for query in judged:
            seen.setdefault(normalise_query(queries[query]), {}).setdefault(split, []).append(query)
    return [
        Leak(text, tuple(sides), tuple(dict.fromkeys(q for ids in sides.values() for q in ids)))
        for text, sides in seen.items()
        if len(sides) > 1
    ]


def split_queries(
    queries: Mapping[str, str], fractions: Mapping[str, float], rest: str, seed: int
) -> dict[str, str]:
    """Gives each query a split; queries with the same normalised text go together.

    Args:
        queries: Query id -> text.
        fractions: Split name -> share of the different queries, 0 to 1; at least one query each
            unless the share is 0.
        rest: The split that gets the others.
        seed: Another seed gives another split.

    Returns:
        Query id -> split name.

    Raises:
        EmptyDataError: Too few different queries for every split to have one.
    """
    groups: dict[str, list[str]] = {}
    for identifier, text in queries.items():
        groups.setdefault(normalise_query(text), []).append(identifier)
    order = sorted(groups, key=lambda text: (_rank(text, seed), text))
    wanted = {name: share for name, share in fractions.items() if share > 0 and name != rest}
    if len(order) < len(wanted) + 1:
        raise EmptyDataError(
            f"{len(order)} different queries cannot be split into {rest} and "
            f"{' and '.join(wanted)}: at least {len(wanted) + 1} are needed. Give more data, give "
            "the splits yourself, or set the fraction of a split to 0."
        )
    sides: dict[str, str] = {}
    begin = 0
    for number, (name, share) in enumerate(wanted.items(), start=1):
        still_needed = len(wanted) - number + 1
        count = min(max(1, round(share * len(order))), len(order) - begin - still_needed)
        sides.update(dict.fromkeys(order[begin : begin + count], name))
        begin += count
    return {q: sides.get(text, rest) for text in order for q in groups[text]}


def _rank(text: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\n{text}".encode("utf-8", "replace"), digest_size=8).digest()


def fill_splits(data: RankingData, options: LoadOptions) -> RankingData:
    """Carves the missing ones of train, dev and test out of what came with the data.

    They come from train, or, where there is none, from the split with the most queries, and a
    warning says so: figures on what is left of a carved test split compare with nobody's.

    Raises:
        EmptyDataError: Too few different queries.
    """
    missing = [name for name in SPLITS if name not in data.qrels]
    if not missing:
        return replace(
            data, qrels=ordered_splits(data.qrels), candidates=ordered_splits(data.candidates)
        )
    pool = "train"
    if "train" in missing:
        pool = max(data.qrels, key=lambda name: len(data.qrels[name]))
        logger.warning(
            "%s has no train split: it is carved out of '%s', so results on '%s' cannot be "
            "compared with published ones.",
            data.source or "The data",
            pool,
            pool,
        )
    shares = {"test": options.test_fraction, "dev": options.dev_fraction}
    fractions = {name: shares[name] for name in shares if name in missing or name == pool}
    texts = {query: data.queries[query] for query in data.qrels[pool]}
    sides = split_queries(texts, fractions, "train", options.seed)
    carved: dict[str, Qrels] = {}
    for query, judged in data.qrels[pool].items():
        carved.setdefault(sides[query], {})[query] = judged
    qrels = {name: judged for name, judged in data.qrels.items() if name != pool} | carved
    candidates = {name: run for name, run in data.candidates.items() if name != pool}
    for query, listed in data.candidates.get(pool, {}).items():
        candidates.setdefault(sides.get(query, "train"), {})[query] = listed
    return replace(data, qrels=ordered_splits(qrels), candidates=ordered_splits(candidates))


def limit_queries(data: RankingData, options: LoadOptions) -> RankingData:
    """Keeps at most ``options.max_queries`` queries in each split; the corpus stays whole.

    Which ones depends on their text and the seed alone. Queries that no split holds any longer
    leave the queries, negatives and candidates too.
    """
    limit = options.max_queries
    if limit is None:
        return data
    qrels = {}
    for split, judged in data.qrels.items():
        texts = {query: normalise_query(data.queries[query]) for query in judged}
        kept = set(
            sorted(texts, key=lambda q: (_rank(texts[q], options.seed), texts[q], q))[:limit]
        )
        qrels[split] = {query: grades for query, grades in judged.items() if query in kept}
    left = {query for judged in qrels.values() for query in judged}
    return replace(
        data,
        queries={query: text for query, text in data.queries.items() if query in left},
        qrels=qrels,
        negatives={query: docs for query, docs in data.negatives.items() if query in left},
        candidates={
            split: {query: docs for query, docs in run.items() if query in left}
            for split, run in data.candidates.items()
        },
    )


def ordered_splits(splits: Mapping[str, T]) -> dict[str, T]:
    """The same mapping with train, dev and test first, in this order."""
    names = [*SPLITS, *(name for name in splits if name not in SPLITS)]
    return {name: splits[name] for name in names if name in splits}
