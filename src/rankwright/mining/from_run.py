"""`mine`: negatives as document ids, from a run and judgements."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from rankwright.data.types import Qrels, Run
from rankwright.errors import EmptyDataError, InputError
from rankwright.mining.arrays import IntArray
from rankwright.mining.negatives import Candidates, Positives, select_negatives
from rankwright.mining.options import MiningOptions

__all__ = ["mine"]

logger = logging.getLogger(__name__)


def mine(
    run: Run,
    qrels: Qrels,
    options: MiningOptions | None = None,
    *,
    corpus: Mapping[str, str] | None = None,
    positive_scores: Run | None = None,
    random_negatives: int = 0,
) -> dict[str, list[str]]:
    """Negatives of every judged query, as document ids.

    Args:
        run: Candidates, from `retrieve` or a TREC file.
        qrels: Judgements; grades above 0 are relevant. Documents judged 0 may become negatives.
        options: What to keep; default `MiningOptions()`.
        corpus: Document id -> text. With it, documents that read the same as a relevant one are
            never negatives; random negatives are drawn from it.
        positive_scores: Scores of relevant documents that ``run`` did not find, from
            `score_positives`; needed for a margin.
        random_negatives: How many documents drawn at random are added to each query's mined
            ones. Rerankers trained on hard negatives alone can give high scores to documents
            that have nothing to do with the query (arXiv:2411.11767).

    Returns:
        Query id -> document ids: mined negatives, hardest first, then random ones. A query for
        which nothing was left has a shorter, perhaps empty, list. Queries without a relevant
        document are left out.

    Raises:
        EmptyDataError: No judged query has a relevant document.
        InputError: Margins without scores of all positives, or random negatives without corpus.
    """
    options = options or MiningOptions()
    relevant = {q: [d for d, grade in judged.items() if grade > 0] for q, judged in qrels.items()}
    relevant = {qid: docids for qid, docids in relevant.items() if docids}
    if not relevant:
        raise EmptyDataError("No query of the judgements has a relevant document (grade above 0).")
    if random_negatives < 0 or (random_negatives and not corpus):
        raise InputError(
            f"random_negatives={random_negatives} must not be negative, and draws from `corpus`, "
            "which has to be given with it."
        )
    texts = corpus or {}
    named = chain(texts, *relevant.values(), *(run.get(qid, ()) for qid in relevant))
    numbers = {docid: number for number, docid in enumerate(dict.fromkeys(named))}
    text_ids = _text_ids(list(numbers), texts)
    positives = _positives(relevant, numbers, options, run, positive_scores or {})
    range_max = options.window(max(len(docids) for docids in relevant.values()))
    width = range_max + max(len(docids) for docids in relevant.values())
    candidates = _candidates([run.get(qid, {}) for qid in relevant], numbers, width)
    selection = select_negatives(
        candidates, positives, options, range_max=range_max, text_ids=text_ids
    )
    docids = np.array(list(numbers), dtype=object)
    negatives = [docids[row[row >= 0]].tolist() for row in selection.indices]
    short = sum(len(row) < options.num_negatives for row in negatives)
    if short:
        logger.info(
            "Found fewer than %d negatives for %s of %s queries.",
            options.num_negatives,
            f"{short:,}",
            f"{len(negatives):,}",
        )
    if random_negatives:
        rng = np.random.default_rng(options.seed)
        pool = list(texts)
        for row, (found, known) in enumerate(zip(negatives, relevant.values(), strict=True)):
            barred = {int(text_ids[numbers[docid]]) for docid in chain(found, known)}
            found += _draw(rng, pool, random_negatives, barred, text_ids)
            negatives[row] = found
    return dict(zip(relevant, negatives, strict=True))


def _draw(
    rng: np.random.Generator,
    pool: Sequence[str],
    count: int,
    barred: set[int],
    text_ids: IntArray,
) -> list[str]:
    """Up to ``count`` of ``pool``, which is the first part of the numbered documents."""
    drawn: list[str] = []
    for number in _numbers(rng, len(pool), count):
        if len(drawn) == count:
            break
        text = int(text_ids[number])
        if text not in barred:
            barred.add(text)
            drawn.append(pool[number])
    return drawn


def _numbers(rng: np.random.Generator, size: int, count: int) -> Iterator[int]:
    """A few numbers more than needed; all of them, in random order, where those fall short."""
    yield from rng.integers(size, size=2 * count + 8).tolist()
    yield from rng.permutation(size).tolist()


def _text_ids(docids: Sequence[str], corpus: Mapping[str, str]) -> IntArray:
    """Documents of the same text share a number; those of unknown text stand for themselves."""
    first: dict[tuple[str, bool], int] = {}
    keys = ((corpus[docid], True) if docid in corpus else (docid, False) for docid in docids)
    return np.array([first.setdefault(key, len(first)) for key in keys], dtype=np.int64)


def _candidates(ranked: list[dict[str, float]], numbers: dict[str, int], width: int) -> Candidates:
    indices = np.full((len(ranked), width), -1, dtype=np.int64)
    scores = np.full((len(ranked), width), -np.inf, dtype=np.float32)
    for row, hits in enumerate(ranked):
        values = np.fromiter(hits.values(), dtype=np.float32, count=len(hits))
        docs = np.fromiter((numbers[docid] for docid in hits), dtype=np.int64, count=len(hits))
        order = np.argsort(-values, kind="stable")[:width]
        indices[row, : len(order)] = docs[order]
        scores[row, : len(order)] = values[order]
    return Candidates(indices, scores)


def _positives(
    relevant: dict[str, list[str]],
    numbers: dict[str, int],
    options: MiningOptions,
    run: Run,
    positive_scores: Run,
) -> Positives:
    rows = np.repeat(np.arange(len(relevant)), [len(docids) for docids in relevant.values()])
    documents = np.array([numbers[d] for docids in relevant.values() for d in docids])
    if not options.needs_positive_scores:
        return Positives(rows, documents)
    scores = []
    for qid, docids in relevant.items():
        known = {**run.get(qid, {}), **positive_scores.get(qid, {})}
        for docid in docids:
            if docid not in known:
                raise InputError(
                    f"A margin needs the score of every relevant document, and {docid!r} of query "
                    f"{qid!r} is not in the run. Pass positive_scores=score_positives(...)."
                )
            scores.append(known[docid])
    return Positives(rows, documents, np.array(scores, dtype=np.float32))
