"""How each family of clients expects a problem to be told."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from rankwright.serving.problems import Problem

__all__ = ["dialect_of", "problem_body", "problem_response", "validation_problem"]

TEI_KINDS = {
    "validation": "validation",
    "empty": "empty",
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
TEI = ("/rerank", "/predict")


def dialect_of(path: str) -> str:
    """``"cohere"``, ``"vllm"`` or ``"tei"``, by the path of a request."""
    if path in COHERE:
        return "cohere"
    return "vllm" if path in VLLM else "tei"


def problem_body(dialect: str, problem: Problem) -> dict[str, Any]:
    """The body that tells of a problem.

    ``/v1/rerank`` is Cohere's first version and Jina's: both their fields are there. ``/rerank``
    with ``texts`` is answered as Text Embeddings Inference does, with ``documents`` (``"any"``)
    as vLLM and Jina do.
    """
    if dialect == "cohere":
        return {"message": problem.message, "detail": problem.message}
    if dialect == "tei":
        return {"error": problem.message, "error_type": TEI_KINDS[problem.kind]}
    told = {
        "message": problem.message,
        "type": problem.kind,
        "param": None,
        "code": problem.status,
    }
    return {"error": told} if dialect == "vllm" else {"error": told, "detail": problem.message}


def problem_response(path: str, problem: Problem, dialect: str | None = None) -> JSONResponse:
    """The whole answer that tells of a problem.

    Args:
        path: Of the request.
        problem: What is wrong.
        dialect: How to tell it, where the path alone does not decide.
    """
    dialect = dialect or dialect_of(path)
    if path in TEI and dialect == "tei" and problem.kind == "backend":
        problem = Problem(424, "backend", problem.message)
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(int(problem.retry_after))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem_body(dialect, problem), problem.status, headers)


def validation_problem(errors: list[Any]) -> Problem:
    """The first of pydantic's complaints, as a `Problem`; never repeats the input's text."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "jina", "tei"))
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return Problem(400, "validation", f"the body is not JSON: {first['ctx']['error']}")
    if first["type"] == "too_short" and first["loc"][-1] == "texts":
        return Problem(400, "empty", f"{place}: {message}")
    return Problem(422, "validation", f"{place or 'body'}: {message}")
