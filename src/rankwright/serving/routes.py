"""The routes that score."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response

from rankwright.serving.answers import (
    CohereAnswer,
    JinaAnswer,
    ScoreAnswer,
    TeiLabel,
    TeiRank,
    documented,
)
from rankwright.serving.dialects import dialect_of
from rankwright.serving.guard import ClientGone
from rankwright.serving.problems import Problem
from rankwright.serving.schemas import (
    AnyRerank,
    CohereRerank,
    Document,
    Rerank,
    Score,
    TeiPredict,
    text_of,
)
from rankwright.serving.service import Answer, Asked, RerankService
from rankwright.serving.shaping import best, meta, result

__all__ = ["router"]

T = TypeVar("T")
router = APIRouter()


@router.post(
    "/v2/rerank",
    summary="Cohere, version 2",
    response_model=CohereAnswer,
    response_model_exclude_unset=True,
    responses=documented("cohere"),
)
async def cohere_v2(body: CohereRerank, request: Request, response: Response) -> dict[str, Any]:
    """Ranks documents; ``relevance_score`` lies between 0 and 1."""
    texts = _texts(body.documents, body.rank_fields)
    asked = _asked(request, body, "probability")
    answer = await _score(request, response, [(body.query, text) for text in texts], asked)
    return {
        "id": str(uuid.uuid4()),
        "results": [result(item, body.relevant_spans) for item in best(answer, body)],
        "meta": meta(answer, "2"),
    }


@router.post(
    "/v1/rerank",
    summary="Jina, and Cohere, version 1",
    response_model=JinaAnswer,
    response_model_exclude_unset=True,
    responses=documented("cohere"),
)
async def rerank_v1(body: Rerank, request: Request, response: Response) -> dict[str, Any]:
    """Ranks documents; ``relevance_score`` lies between 0 and 1."""
    return await _jina(body, request, response)


@router.post(
    "/rerank",
    summary="Text Embeddings Inference, vLLM and Jina",
    response_model=list[TeiRank] | JinaAnswer,
    response_model_exclude_unset=True,
    responses=documented("any"),
)
async def rerank(body: AnyRerank, request: Request, response: Response) -> Any:
    """With ``texts`` as Text Embeddings Inference has it, with ``documents`` as the others do."""
    if isinstance(body, Rerank):
        request.state.dialect = "any"
        found = await _jina(body, request, response)
        for row in found["results"]:
            if "document" in row:
                row["document"]["multi_modal"] = None  # vLLM's
        return found
    asked = Asked(
        "raw" if body.raw_scores else "probability",
        keep_end=body.truncation_direction.lower() == "left",
        refuse_long=body.truncate is False,
        deadline=_deadline(request, body.deadline_ms),
    )
    answer = await _score(request, response, [(body.query, text) for text in body.texts], asked)
    ranked = sorted(answer.results, key=lambda item: -item.score)
    return [
        {
            "index": item.index,
            "score": item.score,
            **({"text": body.texts[item.index]} if body.return_text else {}),
        }
        for item in ranked
    ]


@router.post(
    "/predict",
    summary="Text Embeddings Inference: scores in the order given",
    response_model=list[TeiLabel] | list[list[TeiLabel]],
    responses=documented("tei"),
)
async def predict(body: TeiPredict, request: Request, response: Response) -> list[Any]:
    """One pair gives one list of labelled scores, several give a list of such lists."""
    single = isinstance(body.inputs[0], str)
    pairs = [tuple(body.inputs)] if single else [tuple(pair) for pair in body.inputs]
    asked = Asked(
        "raw" if body.raw_scores else "probability",
        refuse_long=body.truncate is False,
        deadline=_deadline(request, body.deadline_ms),
    )
    answer = await _score(request, response, pairs, asked)  # type: ignore[arg-type]
    rows = [[{"score": item.score, "label": "LABEL_0"}] for item in answer.results]
    return rows[0] if single else rows


@router.post(
    "/score",
    summary="vLLM: scores in the order given",
    response_model=ScoreAnswer,
    responses=documented("vllm"),
)
@router.post("/v1/score", include_in_schema=False)
async def score(body: Score, request: Request, response: Response) -> dict[str, Any]:
    """One text against many, or as many against as many."""
    first = body.text_1 if body.text_1 is not None else body.queries
    second = body.text_2 if body.text_2 is not None else body.documents
    if first is None or second is None:
        raise Problem(400, "validation", "expected text_1 and text_2, or queries and documents")
    left = [first] if isinstance(first, str) else first
    right = [second] if isinstance(second, str) else second
    if not left or not right or (len(left) != 1 and len(left) != len(right)):
        raise Problem(
            400,
            "validation",
            f"{len(left)} texts against {len(right)}; expected one against any number of at least "
            "one, or as many as on the other side",
        )
    if len(left) == 1:
        left = left * len(right)
    asked = Asked(
        "raw" if body.use_activation is False else "model",
        max_tokens=_positive(body.truncate_prompt_tokens),
        deadline=_deadline(request, body.deadline_ms),
    )
    answer = await _score(request, response, list(zip(left, right, strict=True)), asked)
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": body.model or _service(request).settings.model_name,
        "data": [
            {"index": item.index, "object": "score", "score": item.score} for item in answer.results
        ],
        "usage": {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens},
    }


async def _jina(body: Rerank, request: Request, response: Response) -> dict[str, Any]:
    asked = replace(
        _asked(request, body, "raw" if body.use_activation is False else "probability"),
        max_tokens=_positive(body.truncate_prompt_tokens),
        max_windows=body.max_chunks_per_doc,
        instruction=body.instruction,
    )
    texts = _texts(body.documents, body.rank_fields)
    answer = await _score(request, response, [(body.query, text) for text in texts], asked)
    echo = body.return_documents is not False
    return {
        "id": str(uuid.uuid4()),
        "object": "rerank",
        "model": body.model or _service(request).settings.model_name,
        "results": [
            {
                **result(item, body.relevant_spans),
                **({"document": {"text": texts[item.index]}} if echo else {}),
            }
            for item in best(answer, body)
        ],
        "usage": {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens},
        "meta": meta(answer, "1"),
    }


def _service(request: Request) -> RerankService:
    service: RerankService = request.app.state.service
    return service


def _asked(request: Request, body: Rerank | CohereRerank, scores: str) -> Asked:
    return Asked(
        scores,
        max_tokens_per_doc=body.max_tokens_per_doc or None,
        max_tokens_per_query=body.max_tokens_per_query or None,
        long_documents=body.long_documents,
        spans=body.relevant_spans is not None and body.relevant_spans.mode == "enabled",
        deadline=_deadline(request, body.deadline_ms),
    )


def _deadline(request: Request, asked_ms: int | None) -> float:
    longest = _service(request).settings.deadline_seconds
    seconds = longest if asked_ms is None else min(asked_ms / 1000, longest)
    return time.monotonic() + seconds


def _texts(documents: Sequence[Document], rank_fields: list[str] | None) -> list[str]:
    try:
        return [text_of(document, i, rank_fields) for i, document in enumerate(documents)]
    except ValueError as error:
        raise Problem(422, "validation", str(error)) from None


def _positive(tokens: int | None) -> int | None:
    """vLLM's -1 and 0 leave the limit to the model."""
    return tokens if tokens is not None and tokens > 0 else None


def _dialect(request: Request) -> str:
    dialect: str = getattr(request.state, "dialect", dialect_of(request.url.path))
    return dialect


async def _score(
    request: Request, response: Response, pairs: list[tuple[str, str]], asked: Asked
) -> Answer:
    service = _service(request)
    if len(pairs) > service.settings.max_documents:
        raise Problem(
            413 if _dialect(request) == "tei" else 422,
            "too_large",
            f"{len(pairs)} documents; at most {service.settings.max_documents} are allowed in one "
            "request. Split it.",
        )
    began = time.perf_counter()
    answer = await _unless_gone(request, service.score(pairs, asked))
    note = request.scope["rankwright"]
    note.update(pairs=len(pairs), tokens=answer.tokens, truncated=answer.truncated)
    if service.settings.log_texts:
        note["query"] = pairs[0][0]
    for name, value in (
        ("x-compute-type", service.model.backend),
        ("x-compute-time", round(1000 * (answer.tokenise_seconds + answer.score_seconds))),
        ("x-compute-tokens", answer.tokens),
        ("x-compute-characters", sum(len(q) + len(d) for q, d in pairs)),
        ("x-truncated", answer.truncated),
        ("x-total-time", round(1000 * (time.perf_counter() - began))),
        ("x-tokenization-time", round(1000 * answer.tokenise_seconds)),
        ("x-queue-time", round(1000 * answer.queue_seconds)),
        ("x-inference-time", round(1000 * answer.score_seconds)),
    ):
        response.headers[name] = str(value)
    return answer


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled as soon as the client is gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
