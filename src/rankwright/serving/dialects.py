"""How each family of clients expects a problem to be told."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from rankwright.serving.problems import Problem

__all__ = ["dialect_of", "problem_body", "problem_response", "validation_problem"]

TEI_KINDS = {
    "validation": "validation",
    "too_large": "validation",
    "overloaded": "overloaded",
    "unauthorized": "validation",
    "unavailable": "unhealthy",
    "timeout": "backend",
    "backend": "backend",
    "not_found": "validation",
}
COHERE = ("/v1/rerank", "/v2/rerank")
VLLM = ("/score", "/v1/score")


def dialect_of(path: str) -> str:
    """``"cohere"``, ``"vllm"`` or ``"tei"``, by the path of a request."""
    if path in COHERE:
        return "cohere"
    return "vllm" if path in VLLM else "tei"


def problem_body(path: str, problem: Problem) -> dict[str, Any]:
    """The body that tells of a problem.

    ``/v1/rerank`` is Cohere's first version and Jina's: both their fields are there. ``/rerank``
    is answered as Text Embeddings Inference and vLLM do.
    """
    dialect = dialect_of(path)
    if dialect == "cohere":
        return {"message": problem.message, "detail": problem.message}
    if dialect == "vllm":
        return {
            "error": {
                "message": problem.message,
                "type": problem.kind,
                "param": None,
                "code": problem.status,
            }
        }
    return {"error": problem.message, "error_type": TEI_KINDS[problem.kind]}


def problem_response(path: str, problem: Problem) -> JSONResponse:
    """The whole answer that tells of a problem."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(int(problem.retry_after))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem_body(path, problem), problem.status, headers)


def validation_problem(errors: list[Any]) -> Problem:
    """The first of pydantic's complaints, as a `Problem`; never repeats the input's text."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "jina", "tei"))
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return Problem(400, "validation", f"the body is not JSON: {first['ctx']['error']}")
    return Problem(422, "validation", f"{place or 'body'}: {message}")
