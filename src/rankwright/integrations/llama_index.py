"""LlamaIndex: a node postprocessor; ``pip install 'rankwright[llama-index]'``."""

from __future__ import annotations

from typing import Any

from rankwright.errors import InputError
from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer, check_count, missing_framework

try:
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise missing_framework(error, "llama_index", "llama-index-core", "llama-index") from error

__all__ = ["RankwrightRerank"]

RETRIEVAL_SCORE = "retrieval_score"

dispatcher = get_dispatcher(__name__)


class RankwrightRerank(BaseNodePostprocessor):
    """Puts retrieved nodes in order of relevance and keeps the best.

    A node is read as it is embedded: its text with the metadata that are not excluded from
    embedding. New ``NodeWithScore`` objects come back; those that were passed keep their scores.
    `to_dict` holds the folder or name of the model, from which `from_dict` loads it again; a model
    that was passed loaded is only named there.

    Args:
        model: A `CrossEncoder`, a `Reranker`, or the folder or hub name of one.
        top_n: Most nodes to return.
        keep_retrieval_score: Whether the retriever's score is kept in
            ``metadata["retrieval_score"]`` of a copy of the node, hidden from embedding and
            language models.
        backend: ``"auto"``, ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``;
            see `rankwright.integrations.loading.Loading`.
        device: For a `CrossEncoder`; None picks the best there is.
        batch_size: Most pairs in one batch; None lets the number of tokens decide.
        load_options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``.
        others: Fields of ``BaseNodePostprocessor``, such as ``callback_manager``.

    Raises:
        InputError: Options that cannot be used.
        InputTypeError: ``model`` is no model.
    """

    model: str = Field(description="Folder or name of the reranker.")
    top_n: int = Field(default=2, description="Most nodes to return.")
    keep_retrieval_score: bool = Field(
        default=False, description="Whether metadata keep the retriever's score."
    )
    backend: str = Field(default="auto", description="auto, torch, onnx, openvino or native.")
    device: str | None = Field(default=None, description="Where a CrossEncoder runs.")
    batch_size: int | None = Field(default=None, description="Most pairs in one batch.")
    load_options: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments for loading the model."
    )

    _scorer: PairScorer = PrivateAttr()

    def __init__(
        self,
        model: Any,
        top_n: int = 2,
        keep_retrieval_score: bool = False,
        *,
        backend: str = "auto",
        device: str | None = None,
        batch_size: int | None = None,
        load_options: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        loading = Loading(backend, device, load_options or {})
        scorer = PairScorer(model, loading, batch_size)
        super().__init__(
            model=scorer.name,
            top_n=check_count(top_n, "top_n"),
            keep_retrieval_score=keep_retrieval_score,
            backend=backend,
            device=device,
            batch_size=batch_size,
            load_options=load_options or {},
            **others,
        )
        self._scorer = scorer

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised pipelines."""
        return "RankwrightRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("Reranking needs the query: pass query_bundle or query_str.")
        if not nodes:
            return []
        query = query_bundle.query_str
        dispatcher.event(
            ReRankStartEvent(query=query, nodes=nodes, top_n=self.top_n, model_name=self.model)
        )
        payload = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            texts = [item.node.get_content(metadata_mode=MetadataMode.EMBED) for item in nodes]
            ranked = self._scorer.rank(query, texts)
            best = [self._scored(nodes[index], score) for index, score in ranked[: self.top_n]]
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    def _scored(self, item: NodeWithScore, score: float) -> NodeWithScore:
        if not self.keep_retrieval_score:
            return NodeWithScore(node=item.node, score=score)
        node = item.node.model_copy()
        node.metadata = {**item.node.metadata, RETRIEVAL_SCORE: item.score}
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
            hidden = getattr(item.node, name)
            setattr(node, name, [*hidden, *({RETRIEVAL_SCORE} - set(hidden))])
        return NodeWithScore(node=node, score=score)
