"""Bodies of answers, as OpenAPI tells them and as clients of Cohere, Jina, TEI and vLLM know them.

Answers are checked against these, so that what `/docs` says is what is sent.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["CohereAnswer", "JinaAnswer", "ScoreAnswer", "TeiLabel", "TeiRank", "documented"]


class Span(BaseModel):
    """A stretch of a document."""

    start: int = Field(description="Its first character.")
    end: int = Field(description="The first character after it.")
    score: float


class CohereResult(BaseModel):
    """A document's place, best first."""

    index: int = Field(description="The document's position in the request.")
    relevance_score: float
    relevant_spans: list[Span] | None = Field(None, description="Best first, if asked for.")


class ApiVersion(BaseModel):
    """As Cohere counts."""

    version: str


class BilledUnits(BaseModel):
    """What Cohere would bill: one unit for up to a hundred documents."""

    search_units: int


class MetaTokens(BaseModel):
    """Tokens that went through the model."""

    input_tokens: int
    output_tokens: int


class Meta(BaseModel):
    """About a request as a whole."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: MetaTokens
    truncated_documents: int = Field(description="How many documents lost tokens.")
    warnings: list[str] | None = Field(None, description="What a client should know.")


class CohereAnswer(BaseModel):
    """Cohere's second version."""

    id: str
    results: list[CohereResult]
    meta: Meta


class EchoedDocument(BaseModel):
    """A document as the model read it."""

    text: str
    multi_modal: list[Any] | None = Field(None, description="vLLM's; always null.")


class JinaResult(CohereResult):
    """A document's place, best first."""

    document: EchoedDocument | None = Field(None, description="If asked for.")


class Usage(BaseModel):
    """Tokens that went through the model."""

    prompt_tokens: int
    total_tokens: int


class JinaAnswer(BaseModel):
    """Jina's, vLLM's and Cohere's first version."""

    id: str
    object: Literal["rerank"]
    model: str
    results: list[JinaResult]
    usage: Usage
    meta: Meta


class TeiRank(BaseModel):
    """A text's place, best first, in Text Embeddings Inference."""

    index: int
    score: float
    text: str | None = Field(None, description="If asked for.")


class TeiLabel(BaseModel):
    """A pair's score in Text Embeddings Inference."""

    score: float
    label: str


class ScoreResult(BaseModel):
    """A pair's score in vLLM."""

    index: int
    object: Literal["score"]
    score: float


class ScoreAnswer(BaseModel):
    """vLLM's, in the order of the request."""

    id: str
    object: Literal["list"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    data: list[ScoreResult]
    usage: Usage


class CohereProblem(BaseModel):
    """A problem as clients of Cohere (`message`) and of Jina (`detail`) expect it."""

    message: str
    detail: str


class TeiProblem(BaseModel):
    """A problem in Text Embeddings Inference."""

    error: str
    error_type: Literal["unhealthy", "backend", "overloaded", "validation", "tokenizer", "empty"]


class VllmError(BaseModel):
    """What vLLM tells of a problem."""

    message: str
    type: str
    param: str | None
    code: int


class VllmProblem(BaseModel):
    """A problem in vLLM."""

    error: VllmError


class RerankProblem(VllmProblem):
    """A problem in vLLM (`error`) and Jina (`detail`)."""

    detail: str


PROBLEMS: dict[str, Any] = {
    "cohere": CohereProblem,
    "tei": TeiProblem,
    "vllm": VllmProblem,
    "any": TeiProblem | RerankProblem,
}
STATUSES = {
    400: "Not JSON, or nothing to score",
    401: "No key, or a wrong one",
    408: "The body did not arrive in time",
    413: "Too large",
    422: "A body that cannot be used",
    424: "The model failed",
    429: "No room; see Retry-After",
    500: "The server failed",
    503: "The server is stopping",
    504: "No result before the deadline",
}


def documented(dialect: str) -> dict[int | str, dict[str, Any]]:
    """What a route may answer instead of scores, for OpenAPI."""
    model = PROBLEMS[dialect]
    return {
        status: {"model": model, "description": text}
        for status, text in STATUSES.items()
        if status != 424 or dialect in ("tei", "any")
    }
