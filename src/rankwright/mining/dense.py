"""Dense first stage: any encoder, exact search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankwright.errors import EmptyDataError, InputError, InputTypeError
from rankwright.mining.arrays import FloatArray, IntArray
from rankwright.mining.embedding_cache import cached_embeddings, encoder_identity
from rankwright.mining.encoding import AnyEncoder, EncodeOptions, Side, encode_texts
from rankwright.mining.exact_search import SearchOptions, exact_search, faiss_search
from rankwright.mining.progress import bars_wanted

__all__ = ["DenseRetriever"]

logger = logging.getLogger(__name__)


class DenseRetriever:
    """Search by cosine similarity of embeddings, exact, never holding queries x documents.

    Args:
        encoder: An object with ``encode_query`` and ``encode_document``, or ``encode`` (such as
            `EmbeddingModel`, SentenceTransformer or model2vec's StaticModel), or any function
            from a list of texts to an array with one row per text.
        batch_size: Texts encoded at a time.
        query_prompt: Put before every query.
        document_prompt: Put before every document.
        query_prompt_name: Key into the encoder's ``prompts``; ``query_prompt`` goes first.
        document_prompt_name: The same for documents.
        use_faiss: Search with FAISS rather than torch; the results are the same.
        cache_folder: Folder where embeddings are kept between runs; see `encoder_identity` for
            what makes them be computed anew.
        query_block: Queries searched at a time.

    Raises:
        InputTypeError: ``encoder`` is a string or no encoder.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        batch_size: int = 64,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        query_prompt_name: str | None = None,
        document_prompt_name: str | None = None,
        use_faiss: bool = False,
        cache_folder: str | Path | None = None,
        query_block: int = 1024,
    ) -> None:
        if isinstance(encoder, str):
            raise InputTypeError(
                f"encoder is the string {encoder!r}; expected an encoder. Load one with "
                f"EmbeddingModel({encoder!r})."
            )
        if batch_size < 1 or query_block < 1:
            raise InputError(
                f"batch_size={batch_size} and query_block={query_block} must be at least 1."
            )
        self.encoder = encoder
        self.use_faiss = use_faiss
        self.cache_folder = cache_folder
        self.query_block = query_block
        self._options: dict[Side, EncodeOptions] = {
            "query": EncodeOptions(batch_size, query_prompt, query_prompt_name),
            "document": EncodeOptions(batch_size, document_prompt, document_prompt_name),
        }
        self._documents: FloatArray | None = None
        self._last_queries: tuple[list[str], FloatArray] | None = None

    def with_pool(self, pool: object) -> DenseRetriever:
        """Encodes with a pool from the encoder's ``start_multi_process_pool``; returns itself."""
        self._options = {side: replace(o, pool=pool) for side, o in self._options.items()}
        return self

    def index(
        self, documents: Sequence[str], show_progress_bar: bool | None = None
    ) -> DenseRetriever:
        """Embeds ``documents``, in place of whatever was indexed before; returns itself.

        Raises:
            EmptyDataError: There are no documents.
            ScoreError: An embedding holds NaN or infinity.
        """
        if isinstance(documents, str):
            raise InputTypeError("documents is one string; expected a list of strings.")
        if len(documents) == 0:
            raise EmptyDataError("There are no documents to index. Pass at least one.")
        self._documents = self._embed(list(documents), "document", show_progress_bar)
        return self

    def search(
        self, queries: Sequence[str], k: int, show_progress_bar: bool | None = None
    ) -> tuple[IntArray, FloatArray]:
        """The ``k`` documents with the highest cosine to each query, ties in document order.

        Returns:
            ``(Q, k)`` document indices and ``(Q, k)`` cosines, best first; index -1 and score
            -inf where the corpus has fewer than ``k`` documents.
        """
        documents = self._indexed()
        if k < 1:
            raise InputError(f"k must be at least 1, but is {k}.")
        vectors = self._query_vectors(queries, show_progress_bar)
        if vectors.shape[1] != documents.shape[1]:
            raise InputError(
                f"Queries have {vectors.shape[1]} dimensions and documents {documents.shape[1]}. "
                "Use one encoder for both."
            )
        options = SearchOptions(
            query_block=self.query_block,
            device=self._device(),
            show=bars_wanted(show_progress_bar, logger),
        )
        search = faiss_search if self.use_faiss else exact_search
        return search(vectors, documents, k, options)

    def score_pairs(
        self, queries: Sequence[str], query_rows: IntArray, document_rows: IntArray
    ) -> FloatArray:
        """Cosines of chosen (query, document) pairs.

        Args:
            queries: The queries; those of the last `search` are not encoded again.
            query_rows: ``(N,)`` indices into ``queries``.
            document_rows: ``(N,)`` indices into the indexed documents.
        """
        documents = self._indexed()
        vectors = self._query_vectors(queries, show_progress_bar=None)
        scores = np.empty(len(query_rows), dtype=np.float32)
        for start in range(0, len(query_rows), 16384):
            part = slice(start, start + 16384)
            scores[part] = np.einsum(
                "nd,nd->n", vectors[query_rows[part]], documents[document_rows[part]]
            )
        return scores

    def _query_vectors(self, queries: Sequence[str], show_progress_bar: bool | None) -> FloatArray:
        if isinstance(queries, str):
            raise InputTypeError("queries is one string; expected a list of strings.")
        wanted = list(queries)
        last = self._last_queries
        if last is not None and last[0] == wanted:
            return last[1]
        if not wanted:
            return np.empty((0, self._indexed().shape[1]), dtype=np.float32)
        vectors = self._embed(wanted, "query", show_progress_bar)
        self._last_queries = (wanted, vectors)
        return vectors

    def _embed(self, texts: list[str], side: Side, show_progress_bar: bool | None) -> FloatArray:
        options = replace(self._options[side], show_progress_bar=show_progress_bar)
        if self.cache_folder is None:
            return encode_texts(self.encoder, texts, side, options)
        quiet = replace(options, show_progress_bar=False)
        identity = encoder_identity(
            self.encoder, texts, lambda some: encode_texts(self.encoder, some, side, quiet)
        )
        stem = "query_embeddings" if side == "query" else "corpus_embeddings"
        return cached_embeddings(
            self.cache_folder,
            stem,
            texts,
            lambda all_texts: encode_texts(self.encoder, all_texts, side, options),
            f"{identity}\0{options.prompt!r}\0{options.prompt_name!r}",
        )

    def _device(self) -> str:
        device = str(getattr(self.encoder, "device", "cpu"))
        return device if device.startswith("cuda") else "cpu"

    def _indexed(self) -> FloatArray:
        if self._documents is None:
            raise InputError("Nothing is indexed yet. Call index(documents) first.")
        return self._documents
