"""LangChain: a document compressor and a cross-encoder; ``pip install 'rankwright[langchain]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer, check_count, missing_framework

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict, Field, PrivateAttr
except ImportError as error:
    raise missing_framework(error, "langchain_core", "langchain-core", "langchain") from error

__all__ = ["RankwrightCrossEncoder", "RankwrightReranker"]

SCORE_KEY = "relevance_score"


class RankwrightReranker(BaseDocumentCompressor):
    """Puts retrieved documents in order of relevance and keeps the best.

    For ``ContextualCompressionRetriever``, or called by itself. Documents come back as copies with
    the score in ``metadata["relevance_score"]``; those that were passed are not changed.

    Args:
        model: A `CrossEncoder`, a `Reranker`, or the folder or hub name of one.
        top_n: Most documents to return; None for all.
        score_threshold: Documents with a lower score are left out; None keeps all.
        backend: ``"auto"``, ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``;
            see `rankwright.integrations.loading.Loading`.
        device: For a `CrossEncoder`; None picks the best there is.
        batch_size: Most pairs in one batch; None lets the number of tokens decide.
        load_options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``.

    Raises:
        pydantic.ValidationError: ``model`` is no model, or an option cannot be used; a
            ``ValueError`` that says what was expected.
    """

    model: Any
    top_n: int | None = 3
    score_threshold: float | None = None
    backend: str = "auto"
    device: str | None = None
    batch_size: int | None = None
    load_options: dict[str, Any] = Field(default_factory=dict)

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _scorer: PairScorer = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Checks the options."""
        super().model_post_init(context)
        if self.top_n is not None:
            check_count(self.top_n, "top_n")
        loading = Loading(self.backend, self.device, self.load_options)
        self._scorer = PairScorer(self.model, loading, self.batch_size)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, best first; equal scores keep their order.

        Args:
            documents: What the retriever found.
            query: What was asked.
            callbacks: Part of the interface; there is no step of its own to report.

        Raises:
            InputError, ScoreError: As in `CrossEncoder.rank`.
        """
        if not documents:
            return []
        ranked = self._scorer.rank(query, [document.page_content for document in documents])
        if self.score_threshold is not None:
            ranked = [hit for hit in ranked if hit[1] >= self.score_threshold]
        return [_with_score(documents[index], score) for index, score in ranked[: self.top_n]]


class RankwrightCrossEncoder(BaseCrossEncoder):
    """Scores pairs of texts, for LangChain's own ``CrossEncoderReranker``.

    Args:
        model: A `CrossEncoder`, a `Reranker`, or the folder or hub name of one.
        backend: As in `RankwrightReranker`.
        device: As in `RankwrightReranker`.
        batch_size: As in `RankwrightReranker`.
        load_options: As in `RankwrightReranker`.

    Raises:
        InputError: Options that cannot be used.
        InputTypeError: ``model`` is no model.
    """

    def __init__(
        self,
        model: Any,
        *,
        backend: str = "auto",
        device: str | None = None,
        batch_size: int | None = None,
        load_options: dict[str, Any] | None = None,
    ) -> None:
        loading = Loading(backend, device, load_options or {})
        self._scorer = PairScorer(model, loading, batch_size)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """One score per (query, document).

        Raises:
            InputError, ScoreError: As in `CrossEncoder.predict`.
        """
        return self._scorer.scores(text_pairs)


def _with_score(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, SCORE_KEY: score}})
