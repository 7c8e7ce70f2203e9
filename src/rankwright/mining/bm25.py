"""BM25: the lexical first stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from rankwright.errors import EmptyDataError, InputError, InputTypeError, MissingDependencyError
from rankwright.mining.analysis import Analyzer, detect_language
from rankwright.mining.arrays import FloatArray, IntArray
from rankwright.mining.progress import bars_wanted

__all__ = ["BM25"]

logger = logging.getLogger(__name__)

METHODS = ("lucene", "robertson", "atire", "bm25l", "bm25+")


class BM25:
    """Lexical search over one corpus, exact and on the CPU.

    Weights come from ``bm25s`` (Lù, 2024, arXiv:2407.03618), which has the variants compared by
    Kamphuis et al. (ECIR 2020).

    >>> bm25 = BM25().index(["sort lines of a file", "list open ports"])
    >>> indices, scores = bm25.search(["sort a file"], k=2)
    >>> indices.tolist()
    [[0, -1]]

    Args:
        language: Name or two-letter code of the documents' language, which decides the stemmer
            and the stop words; "auto" picks by the script of a sample and logs its choice.
        k1: How fast repeats of a term saturate; at least 0.
        b: How strongly long documents are held back, 0 to 1.
        method: "lucene", "robertson", "atire", "bm25l" or "bm25+".

    Raises:
        InputError: An unknown language or method, or ``k1`` or ``b`` out of range.
        MissingDependencyError: ``bm25s`` or ``PyStemmer`` is not installed.
    """

    def __init__(
        self,
        language: str = "english",
        k1: float = 1.2,
        b: float = 0.75,
        method: str = "lucene",
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method={method!r} is not known. Choose one of: {', '.join(METHODS)}")
        if k1 < 0 or not 0 <= b <= 1:
            raise InputError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, but got k1={k1} and b={b}.")
        self.language = language
        self.k1 = k1
        self.b = b
        self.method = method
        self._analyzer = None if language == "auto" else Analyzer(language)
        self._postings: _Postings | None = None

    def index(self, documents: Sequence[str], show_progress_bar: bool | None = None) -> BM25:
        """Indexes ``documents``, in place of whatever was indexed before; returns itself.

        Raises:
            EmptyDataError: There are no documents.
        """
        if isinstance(documents, str):
            raise InputTypeError("documents is one string; expected a list of strings.")
        if len(documents) == 0:
            raise EmptyDataError("There are no documents to index. Pass at least one.")
        show = bars_wanted(show_progress_bar, logger)
        analyzer = self._analyzer
        if analyzer is None:
            analyzer = Analyzer(detect_language(documents))
            logger.info(
                "BM25 takes the documents' language for %s, from their script. "
                "Pass language=... where that is wrong.",
                analyzer.language,
            )
        self._postings = _Postings.build(documents, analyzer, self, show)
        return self

    def search(
        self, queries: Sequence[str], k: int, show_progress_bar: bool | None = None
    ) -> tuple[IntArray, FloatArray]:
        """The ``k`` best documents of each query.

        Documents that share no term with the query are no hits. Ties are in document order.

        Returns:
            ``(Q, k)`` document indices and ``(Q, k)`` scores, best first; index -1 and score
            -inf where a query has fewer than ``k`` hits.
        """
        postings = self._indexed()
        if isinstance(queries, str):
            raise InputTypeError("queries is one string; expected a list of strings.")
        if k < 1:
            raise InputError(f"k must be at least 1, but is {k}.")
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        show = bars_wanted(show_progress_bar, logger)
        for row, query in enumerate(tqdm(queries, desc="BM25 search", disable=not show)):
            docs, values = postings.hits(query, k)
            indices[row, : len(docs)] = docs
            scores[row, : len(docs)] = values
        return indices, scores

    def score_pairs(
        self, queries: Sequence[str], query_rows: IntArray, document_rows: IntArray
    ) -> FloatArray:
        """Scores of chosen (query, document) pairs, the same to the bit as `search` gives.

        Args:
            queries: The queries.
            query_rows: ``(N,)`` indices into ``queries``.
            document_rows: ``(N,)`` indices into the indexed documents.

        Returns:
            ``(N,)`` scores; 0 where query and document share no term.
        """
        postings = self._indexed()
        scores = np.zeros(len(query_rows), dtype=np.float32)
        if len(query_rows) == 0:
            return scores
        order = np.argsort(query_rows, kind="stable")
        rows, starts = np.unique(query_rows[order], return_index=True)
        for row, members in zip(rows, np.split(order, starts[1:]), strict=True):
            scores[members] = postings.score(queries[row], document_rows[members])
        return scores

    def _indexed(self) -> _Postings:
        if self._postings is None:
            raise InputError("Nothing is indexed yet. Call index(documents) first.")
        return self._postings


class _Postings:
    """Term -> (documents that hold it, in order; what the term adds to each one's score)."""

    def __init__(self, matrix: dict[str, Any], vocabulary: dict[str, int], extra: Any) -> None:
        self.starts = np.asarray(matrix["indptr"], dtype=np.int64)
        self.docs = np.asarray(matrix["indices"])
        self.weights = np.asarray(matrix["data"])
        self.num_docs = int(matrix["num_docs"])
        self.vocabulary = vocabulary
        # bm25l and bm25+ also credit a document for each query term it does not hold.
        self.extra = None if extra is None else np.asarray(extra, dtype=np.float64)
        self.analyzer: Analyzer

    @classmethod
    def build(
        cls, documents: Sequence[str], analyzer: Analyzer, options: BM25, show: bool
    ) -> _Postings:
        try:
            import bm25s
        except ImportError as error:
            raise MissingDependencyError.for_package("bm25s", "train", "BM25") from error
        vocabulary: dict[str, int] = {}
        ids = [
            [vocabulary.setdefault(term, len(vocabulary)) for term in analyzer(document)]
            for document in tqdm(documents, desc="BM25 terms", disable=not show)
        ]
        if not vocabulary:  # nothing but stop words and punctuation: nothing can be found
            empty = {"indptr": [0], "indices": [], "data": [], "num_docs": len(documents)}
            postings = cls(empty, {}, None)
        else:
            model = bm25s.BM25(k1=options.k1, b=options.b, method=options.method)
            # Not `index`, which adds "" as a term, for queries without terms.
            matrix = model.build_index_from_ids(range(len(vocabulary)), ids, show_progress=show)
            postings = cls(matrix, vocabulary, model.nonoccurrence_array)
        postings.analyzer = analyzer
        return postings

    def _term_ids(self, query: str) -> list[int]:
        vocabulary = self.vocabulary
        return [vocabulary[term] for term in self.analyzer(query) if term in vocabulary]

    def _bonus(self, terms: list[int]) -> float:
        return 0.0 if self.extra is None else float(self.extra[terms].sum())

    def hits(self, query: str, k: int) -> tuple[IntArray, FloatArray]:
        terms = self._term_ids(query)
        if not terms:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        spans = [slice(self.starts[term], self.starts[term + 1]) for term in terms]
        docs = np.concatenate([self.docs[span] for span in spans])
        weights = np.concatenate([self.weights[span] for span in spans])
        sums = np.bincount(docs, weights=weights, minlength=self.num_docs)
        seen = np.zeros(self.num_docs, dtype=np.bool_)
        seen[docs] = True
        found = np.flatnonzero(seen)
        # Rounded before they are compared, so that ties are those the caller sees.
        scores = (sums[found] + self._bonus(terms)).astype(np.float32)
        if len(found) > k:
            cut = np.partition(scores, len(scores) - k)[len(scores) - k]
            above = np.flatnonzero(scores > cut)
            level = np.flatnonzero(scores == cut)[: k - len(above)]
            kept = np.sort(np.concatenate([above, level]))
            found, scores = found[kept], scores[kept]
        order = np.argsort(-scores, kind="stable")
        return found[order], scores[order]

    def score(self, query: str, documents: IntArray) -> FloatArray:
        terms = self._term_ids(query)
        sums = np.zeros(len(documents), dtype=np.float64)
        hit = np.zeros(len(documents), dtype=np.bool_)
        for term in terms:
            docs = self.docs[self.starts[term] : self.starts[term + 1]]
            places = np.searchsorted(docs, documents)
            there = places < len(docs)
            there[there] = docs[places[there]] == documents[there]
            sums[there] += self.weights[self.starts[term] + places[there]]
            hit |= there
        sums[hit] += self._bonus(terms)
        return sums.astype(np.float32)
