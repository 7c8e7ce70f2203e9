"""Cohere's own client against this server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.live import listening

cohere = pytest.importorskip("cohere")

QUERY = "sort a list"
TEXTS = ["open the file", "how do i sort a list of files", "remove a row"]
KEY = "a-key-for-tests"


@pytest.fixture(scope="module")
def address(model: CrossEncoder) -> Iterator[str]:
    settings = ServerSettings(api_keys=(KEY,), max_documents=5)
    with listening(create_app(TorchModel(model), settings)) as address:
        yield address


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20) as http:  # Cohere's own would be left open
        yield http


def test_version_2(address: str, model: CrossEncoder, http: httpx.Client) -> None:
    client = cohere.ClientV2(api_key=KEY, base_url=address, httpx_client=http)
    answer = client.rerank(model="any", query=QUERY, documents=TEXTS, top_n=2)
    expected = model.predict([(QUERY, text) for text in TEXTS])
    best = np.argsort(-expected)[:2]
    assert [result.index for result in answer.results] == best.tolist()
    scores = [result.relevance_score for result in answer.results]
    np.testing.assert_allclose(scores, expected[best], atol=1e-6)
    assert answer.meta.api_version.version == "2"


def test_version_1(address: str, http: httpx.Client) -> None:
    client = cohere.Client(api_key=KEY, base_url=address, httpx_client=http)
    answer = client.rerank(query=QUERY, documents=TEXTS, return_documents=True)
    assert [r.document.text for r in answer.results] == [TEXTS[r.index] for r in answer.results]
    assert len(answer.results) == 3


def test_errors_are_the_clients_own(address: str, http: httpx.Client) -> None:
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="a-wrong-key", base_url=address, httpx_client=http).rerank(
            model="any", query=QUERY, documents=TEXTS
        )
    with pytest.raises(cohere.UnprocessableEntityError, match="6 documents"):
        cohere.ClientV2(api_key=KEY, base_url=address, httpx_client=http).rerank(
            model="any", query=QUERY, documents=["a"] * 6
        )
