"""First stages: what they share, and their results as a `Run`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from rankwright.data.types import Qrels, Run
from rankwright.errors import EmptyDataError, InputError, UnknownIdError
from rankwright.mining.arrays import FloatArray, IntArray
from rankwright.mining.bm25 import BM25
from rankwright.mining.encoding import AnyEncoder

__all__ = ["FirstStage", "FirstStageLike", "as_first_stage", "retrieve", "score_positives"]

logger = logging.getLogger(__name__)


@runtime_checkable
class FirstStage(Protocol):
    """Finds candidates in one corpus: `BM25`, `DenseRetriever`, or one of your own."""

    def index(self, documents: Sequence[str], show_progress_bar: bool | None = None) -> Any:
        """Takes the corpus, in place of any former one."""

    def search(
        self, queries: Sequence[str], k: int, show_progress_bar: bool | None = None
    ) -> tuple[IntArray, FloatArray]:
        """``(Q, k)`` document indices and scores, best first, padded with -1 and -inf."""

    def score_pairs(
        self, queries: Sequence[str], query_rows: IntArray, document_rows: IntArray
    ) -> FloatArray:
        """``(N,)`` scores of chosen pairs."""


FirstStageLike: TypeAlias = FirstStage | AnyEncoder | str


def as_first_stage(model: FirstStageLike, **dense_options: Any) -> FirstStage:
    """A first stage from whatever names one.

    Args:
        model: A first stage (returned as it is), "bm25", the folder or hub name of an embedding
            model, or an encoder.
        **dense_options: For `DenseRetriever`, where ``model`` becomes one.
    """
    if isinstance(model, FirstStage):
        return model
    if isinstance(model, str):
        if model.lower() == "bm25":
            return BM25(language="auto")
        from rankwright.mining.encoder import EmbeddingModel

        model = EmbeddingModel(model)
    from rankwright.mining.dense import DenseRetriever

    return DenseRetriever(cast(AnyEncoder, model), **dense_options)


def retrieve(
    first_stage: FirstStageLike,
    corpus: Mapping[str, str],
    queries: Mapping[str, str],
    k: int = 100,
    show_progress_bar: bool | None = None,
) -> Run:
    """The ``k`` best documents of every query.

    Args:
        first_stage: `BM25`, `DenseRetriever`, an encoder, or "bm25"; it indexes ``corpus``.
        corpus: Document id -> text.
        queries: Query id -> text.
        k: Documents per query.
        show_progress_bar: None: shown when the logger is at INFO or lower.

    Returns:
        Query id -> document id -> score, best first. A query without any hit is there, empty.

    Raises:
        EmptyDataError: No documents or no queries.
        InputError: ``k`` below 1.
    """
    if not corpus or not queries:
        raise EmptyDataError(f"There are no {'queries' if corpus else 'documents'} to search.")
    if k < 1:
        raise InputError(f"k must be at least 1, but is {k}.")
    stage = as_first_stage(first_stage)
    stage.index(list(corpus.values()), show_progress_bar=show_progress_bar)
    indices, scores = stage.search(list(queries.values()), k, show_progress_bar)
    docids = np.array(list(corpus), dtype=object)
    run: Run = {}
    for qid, found, values in zip(queries, indices, scores, strict=True):
        hits = found >= 0
        run[qid] = dict(zip(docids[found[hits]], values[hits].tolist(), strict=True))
    missing = sum(not hits for hits in run.values())
    if missing:
        logger.info("%s of %s queries have no hit.", f"{missing:,}", f"{len(run):,}")
    return run


def score_positives(
    first_stage: FirstStage,
    corpus: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Qrels,
) -> Run:
    """First-stage scores of the relevant documents, also of those it did not find.

    Args:
        first_stage: As it stands after `retrieve` with the same ``corpus``; it is not indexed
            anew.
        corpus: Document id -> text.
        queries: Query id -> text.
        qrels: Judgements; grades above 0 are relevant.

    Returns:
        Query id -> relevant document id -> score, for `mine` with a margin.

    Raises:
        UnknownIdError: A judged query or document that is not among ``queries`` or ``corpus``.
    """
    rows = {qid: row for row, qid in enumerate(queries)}
    columns = {docid: column for column, docid in enumerate(corpus)}
    pairs = [(q, d) for q, judged in qrels.items() for d, grade in judged.items() if grade > 0]
    for qid, docid in pairs:
        if qid not in rows or docid not in columns:
            raise UnknownIdError(
                f"The judgements name query {qid!r} and document {docid!r}, and the "
                f"{'corpus' if qid in rows else 'queries'} have no such id."
            )
    scores = first_stage.score_pairs(
        list(queries.values()),
        np.array([rows[qid] for qid, _ in pairs], dtype=np.int64),
        np.array([columns[docid] for _, docid in pairs], dtype=np.int64),
    )
    result: Run = {}
    for (qid, docid), score in zip(pairs, scores.tolist(), strict=True):
        result.setdefault(qid, {})[docid] = score
    return result
