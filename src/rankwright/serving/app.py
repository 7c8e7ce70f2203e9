"""`create_app`: the server as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from rankwright import __version__
from rankwright.engine.allocator import give_back_freed_memory
from rankwright.serving.connections import PATIENCE
from rankwright.serving.dialects import problem_response, validation_problem
from rankwright.serving.guard import Guard
from rankwright.serving.metrics import Metrics
from rankwright.serving.model import ServedModel
from rankwright.serving.problems import Problem
from rankwright.serving.routes import router
from rankwright.serving.service import RerankService
from rankwright.serving.settings import ServerSettings

__all__ = ["create_app"]

KINDS = {401: "unauthorized", 404: "not_found", 405: "validation", 429: "overloaded"}


REFRESH_SECONDS = 1.0
"""How old a worker's gauges may be when another worker tells of them."""
GIVE_BACK_SECONDS = 30.0
"""Freed memory is kept for the next pass; so often what has gathered is given back."""


def create_app(
    model: ServedModel, settings: ServerSettings | None = None, metrics: Metrics | None = None
) -> FastAPI:
    """The server for one model.

    Args:
        model: What scores; see `rankwright.serving.model`.
        settings: Limits and switches.
        metrics: Where figures go; None keeps them in this process.
    """
    settings = settings or ServerSettings()
    metrics = metrics or Metrics()
    service = RerankService(model, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        tasks = [asyncio.create_task(each) for each in (_refresh(metrics), _give_back())]
        app.state.ready = True
        yield {PATIENCE: settings.body_seconds}
        app.state.ready = False
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        service.close()

    app = FastAPI(
        title="Rankwright",
        version=__version__,
        summary="Reranks documents. Speaks to clients of Cohere, Jina, TEI and vLLM.",
        lifespan=lifespan,
        strict_content_type=False,
    )
    app.state.service = service
    app.state.ready = False
    app.include_router(router)
    _add_information(app, service)
    if settings.playground:
        _add_playground(app)
    _add_handlers(app)
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    return app


async def _refresh(metrics: Metrics) -> None:
    while True:
        metrics.refresh()
        await asyncio.sleep(REFRESH_SECONDS)


async def _give_back() -> None:
    while True:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        # Takes milliseconds, in which requests would wait.
        await asyncio.to_thread(give_back_freed_memory)


def _add_information(app: FastAPI, service: RerankService) -> None:
    settings, model = service.settings, service.model

    @app.get("/health", summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether requests are taken")
    async def ready() -> JSONResponse:
        if app.state.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "stopping"}, 503)

    @app.get("/info", summary="What is served, and its limits")
    async def info() -> dict[str, Any]:
        return {
            "model_id": settings.model_name,
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "backend": model.backend,
            "max_input_length": model.max_length,
            "max_batch_tokens": service.batcher.batch_tokens,
            "max_concurrent_requests": settings.max_requests,
            "max_client_batch_size": settings.max_documents,
            "auto_truncate": True,
            "long_documents": settings.long_documents,
            "version": __version__,
        }

    @app.get("/metrics", summary="Figures for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_playground(app: FastAPI) -> None:
    page = (files("rankwright.serving") / "playground.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def playground() -> HTMLResponse:
        # Everything the page needs is in it, and it may talk to this server only.
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        policy += "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        dialect = getattr(request.state, "dialect", None)
        return problem_response(request.url.path, error, dialect)

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        path, body = request.url.path, error.body
        told = isinstance(body, dict) and "documents" in body and "texts" not in body
        dialect = "any" if path == "/rerank" and told else None
        return problem_response(path, validation_problem(list(error.errors())), dialect)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        kind = KINDS.get(error.status_code, "validation")
        answer = problem_response(
            request.url.path, Problem(error.status_code, kind, str(error.detail))
        )
        answer.headers.update(error.headers or {})
        return answer
