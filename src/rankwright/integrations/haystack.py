"""Haystack: a ranker component; ``pip install 'rankwright[haystack]'``."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankwright.errors import InputError
from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer, check_count, missing_framework

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import ComponentDevice, Secret
except ImportError as error:
    raise missing_framework(error, "haystack", "haystack-ai", "haystack") from error

__all__ = ["RankwrightRanker"]


@component
class RankwrightRanker:
    """Puts retrieved documents in order of relevance and keeps the best.

    Args:
        model: A `CrossEncoder`, a `Reranker`, or the folder or hub name of one. Only pipelines
            with a folder or name can be saved.
        device: Where a `CrossEncoder` runs; None picks the best there is.
        token: Access token for the hub.
        top_k: Most documents to return.
        query_prefix: Text before the query.
        query_suffix: Text after the query.
        document_prefix: Text before each document.
        document_suffix: Text after each document.
        meta_fields_to_embed: Metadata put before the content, in this order; a document that lacks
            one goes without.
        embedding_separator: Stands between those and the content.
        scale_score: True for scores between 0 and 1 (the logistic function of the logits), False
            for logits, None for the model's own activation.
        score_threshold: Documents with a lower score are left out; None keeps all.
        backend: ``"auto"``, ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``;
            see `rankwright.integrations.loading.Loading`.
        batch_size: Most pairs in one batch; None lets the number of tokens decide.
        load_options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``.

    Raises:
        InputError: Options that cannot be used, such as ``top_k`` below 1 (a ``ValueError``).
        InputTypeError: ``model`` is no model.
    """

    def __init__(
        self,
        model: Any,
        *,
        device: ComponentDevice | None = None,
        token: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False),  # noqa: B008
        top_k: int = 10,
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        scale_score: bool | None = None,
        score_threshold: float | None = None,
        backend: str = "auto",
        batch_size: int | None = None,
        load_options: dict[str, Any] | None = None,
    ) -> None:
        self.model = str(model) if isinstance(model, Path) else model
        self.device = device
        self.token = token
        self.top_k = check_count(top_k, "top_k")
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.embedding_separator = embedding_separator
        self.scale_score = scale_score
        self.score_threshold = score_threshold
        self.backend = backend
        self.batch_size = batch_size
        self.load_options = dict(load_options or {})
        self._scorer = PairScorer(self.model, self._loading(), batch_size)

    def _loading(self) -> Loading:
        device = None if self.device is None else self.device.to_torch_str()
        options = dict(self.load_options)
        if isinstance(self.model, str) and self.token is not None:
            value = self.token.resolve_value()
            if value is not None:
                options.setdefault("token", value)
        return Loading(self.backend, device, options)

    def warm_up(self) -> None:
        """Loads the model; the first `run` does so otherwise.

        Raises:
            ModelNotFoundError, ModelError, ConfigError: It cannot be loaded.
        """
        _ = self._scorer.model

    def _get_telemetry_data(self) -> dict[str, Any]:
        return {"model": type(self.model).__name__}  # a folder's path is nobody else's business

    def to_dict(self) -> dict[str, Any]:
        """The component as plain data.

        Raises:
            InputError: The model was not given by folder or name.
        """
        if not isinstance(self.model, str):
            raise InputError(
                f"This ranker holds a loaded {type(self.model).__name__}, which plain data cannot "
                "hold. Save the model and pass its folder or hub name as model."
            )
        data: dict[str, Any] = default_to_dict(
            self,
            model=self.model,
            device=None if self.device is None else self.device.to_dict(),
            token=None if self.token is None else self.token.to_dict(),
            top_k=self.top_k,
            query_prefix=self.query_prefix,
            query_suffix=self.query_suffix,
            document_prefix=self.document_prefix,
            document_suffix=self.document_suffix,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            scale_score=self.scale_score,
            score_threshold=self.score_threshold,
            backend=self.backend,
            batch_size=self.batch_size,
            load_options=self.load_options,
        )
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RankwrightRanker:
        """A component of the same settings; its model is loaded when it is needed."""
        settings = dict(data["init_parameters"])
        if isinstance(settings.get("device"), dict):
            settings["device"] = ComponentDevice.from_dict(settings["device"])
        if isinstance(settings.get("token"), dict):
            settings["token"] = Secret.from_dict(settings["token"])
        made: RankwrightRanker = default_from_dict(cls, {**data, "init_parameters": settings})
        return made

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Ranks documents; of several with one id only the one with the highest score is ranked.

        Args:
            query: What was asked.
            documents: What the retriever found. They are not changed.
            top_k: Instead of the component's.
            scale_score: Instead of the component's.
            score_threshold: Instead of the component's.

        Returns:
            ``{"documents": [...]}``: copies with new scores, best first.

        Raises:
            InputError: ``top_k`` below 1.
            ScoreError: The model gave NaN.
        """
        top_k = self.top_k if top_k is None else check_count(top_k, "top_k")
        scale_score = self.scale_score if scale_score is None else scale_score
        least = self.score_threshold if score_threshold is None else score_threshold
        if not documents:
            return {"documents": []}
        distinct = _distinct(documents)
        activation = None if scale_score is None else ("Sigmoid" if scale_score else "Identity")
        asked = f"{self.query_prefix}{query}{self.query_suffix}"
        texts = [self._text(document) for document in distinct]
        ranked = self._scorer.rank(asked, texts, activation)
        if least is not None:
            ranked = [hit for hit in ranked if hit[1] >= least]
        best = [replace(distinct[index], score=score) for index, score in ranked[:top_k]]
        return {"documents": best}

    def _text(self, document: Document) -> str:
        values = (document.meta.get(name) for name in self.meta_fields_to_embed)
        parts = [*(str(value) for value in values if value is not None), document.content or ""]
        return f"{self.document_prefix}{self.embedding_separator.join(parts)}{self.document_suffix}"


def _distinct(documents: list[Document]) -> list[Document]:
    """One document per id, in the order in which ids come first."""
    best: dict[str, Document] = {}
    for document in documents:
        other = best.get(document.id)
        if other is None or _score(document) > _score(other):
            best[document.id] = document
    return list(best.values())


def _score(document: Document) -> float:
    return -math.inf if document.score is None else document.score
