"""Requests made up from the server's own description: none may crash it or get a wrong shape."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.live import listening

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

ROUTES = ("/v2/rerank", "/v1/rerank", "/rerank", "/score", "/predict")
MEANT = {200, 400, 404, 405, 408, 413, 422, 429, 504}
"""What a client can cause, 504 by a deadline of a millisecond; all else is the server's fault."""


@pytest.fixture(scope="module")
def address(model: CrossEncoder) -> Iterator[str]:
    settings = ServerSettings(max_documents=20, max_body_bytes=20_000)
    with listening(create_app(TorchModel(model), settings)) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_no_request_crashes_the_server(address: str, route: str) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operation = schema[route]["POST"]
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            derandomize=True,
            database=None,
        )
        def call(case: schemathesis.Case) -> None:
            answer = case.call()
            assert answer.status_code in MEANT, answer.text
            if answer.status_code == 200:
                told = answer.json()
                rows = told if isinstance(told, list) else told.get("results", told.get("data"))
                assert rows is not None

        call()


def test_the_server_still_scores_right(address: str, model: CrossEncoder) -> None:
    answer = httpx.post(f"{address}/score", json={"text_1": "sort", "text_2": ["a list", "row"]})
    expected = model.predict([("sort", "a list"), ("sort", "row")])
    np.testing.assert_allclose([r["score"] for r in answer.json()["data"]], expected, atol=1e-6)
