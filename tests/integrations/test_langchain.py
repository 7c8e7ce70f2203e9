from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.errors import InputError
from tests.integrations.texts import QUERY, TEXTS

pytest.importorskip("langchain_core")

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ValidationError

from rankwright.integrations.langchain import (
    RankwrightCrossEncoder,
    RankwrightReranker,
)


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(page_content=text, metadata={"n": n}, id=f"d{n}") for n, text in enumerate(TEXTS)
    ]


def expected(scores: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: -item[1])


def found(documents: Any) -> list[tuple[str, float]]:
    return [(d.page_content, d.metadata["relevance_score"]) for d in documents]


def test_the_best_come_first_with_their_scores(
    model: CrossEncoder, scores: dict[str, float], documents: list[Document]
) -> None:
    compressor = RankwrightReranker(model=model)
    assert isinstance(compressor, BaseDocumentCompressor)
    before = [document.model_copy(deep=True) for document in documents]
    best = compressor.compress_documents(documents, QUERY)
    assert found(best) == expected(scores)[:3]
    assert documents == before  # not changed
    by_text = {document.page_content: document for document in documents}
    for document in best:
        original = by_text[document.page_content]
        assert document.id == original.id
        assert document.metadata["n"] == original.metadata["n"]
    every = RankwrightReranker(model=model, top_n=None).compress_documents(documents, QUERY)
    assert found(every) == expected(scores)
    assert compressor.compress_documents([], QUERY) == []


def test_the_same_without_blocking(
    model: CrossEncoder, scores: dict[str, float], documents: list[Document]
) -> None:
    compressor = RankwrightReranker(model=model, top_n=2)
    best = asyncio.run(compressor.acompress_documents(documents, QUERY))
    assert found(best) == expected(scores)[:2]


def test_a_threshold(
    model: CrossEncoder, scores: dict[str, float], documents: list[Document]
) -> None:
    least = expected(scores)[1][1]
    compressor = RankwrightReranker(model=model, score_threshold=least)
    assert found(compressor.compress_documents(documents, QUERY)) == expected(scores)[:2]


def test_by_path(folder: Path, scores: dict[str, float], documents: list[Document]) -> None:
    compressor = RankwrightReranker(
        model=str(folder), top_n=1, device="cpu", load_options={"max_length": 40}
    )
    assert not compressor._scorer.loaded
    assert found(compressor.compress_documents(documents, QUERY)) == expected(scores)[:1]
    assert compressor._scorer.model.max_length == 40


def test_with_an_export(
    exported: Path, scores: dict[str, float], documents: list[Document]
) -> None:
    best = RankwrightReranker(model=exported, top_n=1).compress_documents(documents, QUERY)
    assert found(best) == [pytest.approx(hit, abs=1e-5) for hit in expected(scores)[:1]]


def test_options_that_cannot_be_used(model: CrossEncoder) -> None:
    for options, message in (
        ({"top_n": 0}, "top_n=0; expected at least 1"),
        ({"backend": "x"}, "backend='x' is not known"),
        ({"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(ValidationError, match=message):
            RankwrightReranker(model=model, **options)
    with pytest.raises(ValidationError, match="top_k"):
        RankwrightReranker(model=model, top_k=3)
    with pytest.raises(ValidationError, match="expected a CrossEncoder"):
        RankwrightReranker(model=None)
    with pytest.raises(InputError, match="backend='x' is not known"):
        RankwrightCrossEncoder(model, backend="x")


def test_scores_of_pairs(model: CrossEncoder, scores: dict[str, float]) -> None:
    scorer = RankwrightCrossEncoder(model)
    assert isinstance(scorer, BaseCrossEncoder)
    assert scorer.score([(QUERY, text) for text in TEXTS]) == list(scores.values())
    assert scorer.score([]) == []


class Everything(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.documents


@pytest.mark.slow
def test_inside_langchains_own_retrievers(
    model: CrossEncoder, scores: dict[str, float], documents: list[Document]
) -> None:
    pytest.importorskip("langchain_classic")
    from langchain_classic.retrievers import ContextualCompressionRetriever
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker

    ours = RankwrightReranker(model=model, top_n=2)
    theirs = CrossEncoderReranker(model=RankwrightCrossEncoder(model), top_n=2)
    for compressor in (ours, theirs):
        retriever = ContextualCompressionRetriever(
            base_compressor=compressor, base_retriever=Everything(documents=documents)
        )
        best = retriever.invoke(QUERY)
        assert [d.page_content for d in best] == [text for text, _ in expected(scores)[:2]]
