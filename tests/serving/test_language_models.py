"""Language models behind the server: the template, its instruction, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.tiny_lm import RERANKER, save_lm

QUERY = "sort a list"
TEXTS = ["open the file", "how do i sort a list of files", "remove a row of the table"]
LONG = "read the file and sort the row of the user table " * 30


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    folder = save_lm(tmp_path_factory.mktemp("served") / "lm", chat_template=RERANKER)
    return CrossEncoder(folder, device="cpu", max_length=160)


@pytest.fixture(params=["", "Find code that answers."])
def prompted(judge: CrossEncoder, request: pytest.FixtureRequest) -> Iterator[CrossEncoder]:
    before = judge.prompts, judge.default_prompt_name
    if request.param:
        judge.prompts, judge.default_prompt_name = {"code": request.param}, "code"
    yield judge
    judge.prompts, judge.default_prompt_name = before


def scores(client: TestClient, route: str, texts: list[str], **more: Any) -> list[float]:
    body = {"query": QUERY, "documents": texts, **more}
    answer = client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    rows = sorted(answer.json()["results"], key=lambda row: row["index"])
    return [row["relevance_score"] for row in rows]


@pytest.mark.parametrize("route", ["/v2/rerank", "/v1/rerank", "/rerank"])
def test_scores_are_the_models(prompted: CrossEncoder, route: str) -> None:
    texts = [*TEXTS, LONG]
    expected = prompted.predict([(QUERY, text) for text in texts])
    with TestClient(create_app(TorchModel(prompted))) as client:
        np.testing.assert_allclose(scores(client, route, texts), expected, atol=1e-5)
        body = {"query": QUERY, "documents": texts}
        assert client.post(route, json=body).headers["x-truncated"] == "1"
        cut = scores(client, route, texts, max_tokens_per_doc=2)
    assert not np.allclose(cut, expected)


def test_an_instruction_takes_the_place_of_the_models_own(prompted: CrossEncoder) -> None:
    told = "Find tables."
    expected = prompted.predict([(QUERY, text) for text in TEXTS], prompt=told)
    with TestClient(create_app(TorchModel(prompted))) as client:
        plain = scores(client, "/rerank", TEXTS)
        found = scores(client, "/rerank", TEXTS, instruction=told)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, plain)


def test_long_documents_are_read_whole(judge: CrossEncoder) -> None:
    spans = {"relevant_spans": {"mode": "enabled", "threshold": 0}, "long_documents": "max"}
    with TestClient(create_app(TorchModel(judge), ServerSettings(max_windows=99))) as client:
        body = {"query": QUERY, "documents": [LONG], **spans}
        found = client.post("/v1/rerank", json=body).json()
    assert found["meta"]["truncated_documents"] == 0
    [result] = found["results"]
    seen = [LONG[span["start"] : span["end"]] for span in result["relevant_spans"]]
    assert len(seen) > 1
    expected = judge.predict([(QUERY, text) for text in seen])
    assert judge.score([(QUERY, text) for text in seen]).truncated == 0
    got = [span["score"] for span in result["relevant_spans"]]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert result["relevance_score"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_documents_without_their_beginnings(judge: CrossEncoder) -> None:
    body = {"query": QUERY, "raw_scores": True, "truncation_direction": "left"}
    with TestClient(create_app(TorchModel(judge))) as client:
        ends = [
            client.post("/rerank", json={**body, "texts": [start + LONG]}).json()[0]["score"]
            for start in ("", "read a table ")  # a word joined to the template stays
        ]
        starts = [
            client.post("/rerank", json={**body, "texts": [LONG + end]}).json()[0]["score"]
            for end in ("", "open a table ")
        ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-5)
    assert starts[0] != pytest.approx(starts[1], abs=1e-5)
