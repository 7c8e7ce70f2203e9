"""Every dialect: shapes of answers, scores equal to the model's, errors in the client's words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from rankwright.serving.model import sigmoid

QUERY = "sort a list"
TEXTS = ["open the file", "how do i sort a list of files", "remove a row", "sort a list"]
LONG = "read the file " * 40


@pytest.fixture(scope="module")
def expected(model: CrossEncoder) -> np.ndarray:
    return model.predict([(QUERY, text) for text in TEXTS])


def order(scores: np.ndarray) -> list[int]:
    return np.argsort(-scores, kind="stable").tolist()


def test_cohere_2(client: TestClient, expected: np.ndarray) -> None:
    answer = client.post(
        "/v2/rerank", json={"model": "any", "query": QUERY, "documents": TEXTS, "top_n": 3}
    )
    body = answer.json()
    assert answer.status_code == 200
    assert [r["index"] for r in body["results"]] == order(expected)[:3]
    scores = [r["relevance_score"] for r in body["results"]]
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][:3], atol=1e-6)
    assert all(set(r) == {"index", "relevance_score"} for r in body["results"])
    assert body["meta"]["api_version"] == {"version": "2"}
    assert body["meta"]["billed_units"] == {"search_units": 1}


@pytest.mark.parametrize("route", ["/v1/rerank", "/rerank"])
def test_jina_and_vllm(client: TestClient, expected: np.ndarray, route: str) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1], "id": 7}, *TEXTS[2:]]
    body = client.post(route, json={"model": "m", "query": QUERY, "documents": documents}).json()
    assert body["model"] == "m"
    assert [r["index"] for r in body["results"]] == order(expected)
    assert [r["document"]["text"] for r in body["results"]] == [TEXTS[i] for i in order(expected)]
    assert body["usage"]["total_tokens"] == body["meta"]["tokens"]["input_tokens"] > 0
    bare = client.post(
        route, json={"query": QUERY, "documents": TEXTS, "return_documents": False, "top_n": 0}
    ).json()
    assert len(bare["results"]) == 4
    assert all("document" not in r for r in bare["results"])


def test_tei(client: TestClient, expected: np.ndarray) -> None:
    answer = client.post("/rerank", json={"query": QUERY, "texts": TEXTS, "return_text": True})
    rows = answer.json()
    assert [row["index"] for row in rows] == order(expected)
    assert [row["text"] for row in rows] == [TEXTS[i] for i in order(expected)]
    np.testing.assert_allclose([row["score"] for row in rows], np.sort(expected)[::-1], atol=1e-6)
    for header in ("x-compute-tokens", "x-total-time", "x-queue-time", "x-inference-time"):
        assert int(answer.headers[header]) >= 0


def test_raw_scores_are_logits(client: TestClient, model: CrossEncoder) -> None:
    logits = model.predict([(QUERY, text) for text in TEXTS], activation_fn="identity")
    rows = client.post("/rerank", json={"query": QUERY, "texts": TEXTS, "raw_scores": True}).json()
    got = {row["index"]: row["score"] for row in rows}
    np.testing.assert_allclose([got[i] for i in range(4)], logits, atol=1e-5)
    vllm = {"text_1": QUERY, "text_2": TEXTS, "use_activation": False}
    data = client.post("/score", json=vllm).json()["data"]
    np.testing.assert_allclose([row["score"] for row in data], logits, atol=1e-5)


def test_a_model_without_bounds_gives_probabilities_where_clients_expect_them(folder: Any) -> None:
    model = CrossEncoder(str(folder), max_length=32, activation_fn="identity")
    logits = model.predict([(QUERY, text) for text in TEXTS])
    with TestClient(create_app(TorchModel(model))) as client:
        rows = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).json()
        scored = client.post("/score", json={"text_1": QUERY, "text_2": TEXTS}).json()["data"]
    got = {row["index"]: row["score"] for row in rows}
    np.testing.assert_allclose([got[i] for i in range(4)], sigmoid(logits), atol=1e-6)
    np.testing.assert_allclose([row["score"] for row in scored], logits, atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        {"text_1": QUERY, "text_2": TEXTS},
        {"queries": QUERY, "documents": TEXTS},
        {"text_1": [QUERY] * 4, "text_2": TEXTS},
    ],
)
@pytest.mark.parametrize("route", ["/score", "/v1/score"])
def test_vllm_scores(
    client: TestClient, expected: np.ndarray, route: str, body: dict[str, Any]
) -> None:
    answer = client.post(route, json=body).json()
    assert [row["index"] for row in answer["data"]] == [0, 1, 2, 3]
    np.testing.assert_allclose([r["score"] for r in answer["data"]], expected, atol=1e-6)
    assert answer["object"] == "list"


def test_tei_predict(client: TestClient, expected: np.ndarray) -> None:
    one = client.post("/predict", json={"inputs": [QUERY, TEXTS[0]]}).json()
    many = client.post("/predict", json={"inputs": [[QUERY, text] for text in TEXTS]}).json()
    assert one[0]["label"] == "LABEL_0"
    assert one[0]["score"] == pytest.approx(expected[0], abs=1e-6)
    np.testing.assert_allclose([row[0]["score"] for row in many], expected, atol=1e-6)


def test_truncation_is_seen(client: TestClient) -> None:
    body = {"query": QUERY, "documents": [LONG, "a list"]}
    answer = client.post("/v2/rerank", json=body)
    assert answer.json()["meta"]["truncated_documents"] == 1
    assert "lost their ends" in answer.json()["meta"]["warnings"][0]
    assert answer.headers["x-truncated"] == "1"
    cut = client.post("/v2/rerank", json={**body, "max_tokens_per_doc": 1}).json()
    assert cut["meta"]["truncated_documents"] == 2
    refused = client.post("/rerank", json={"query": QUERY, "texts": [LONG], "truncate": False})
    assert refused.status_code == 413
    assert "index 0" in refused.json()["error"]
    assert "rankwright_truncated_pairs_total 3.0" in client.get("/metrics").text


def test_long_documents_are_read_whole(client: TestClient, model: CrossEncoder) -> None:
    document = LONG + "sort a list"
    body = {"query": QUERY, "documents": [document, "a list"], "return_documents": False}
    spans = {"relevant_spans": {"mode": "enabled", "threshold": 0, "max_spans": 2}}
    for how in ("max", "mean"):
        answer = client.post("/v1/rerank", json={**body, **spans, "long_documents": how}).json()
        assert answer["meta"]["truncated_documents"] == 0
        result = next(r for r in answer["results"] if r["index"] == 0)
        best, second = result["relevant_spans"]
        window = document[best["start"] : best["end"]]
        assert best["score"] == pytest.approx(float(model.predict((QUERY, window))), abs=1e-6)
        assert best["score"] >= second["score"]
        if how == "max":
            assert result["relevance_score"] == pytest.approx(best["score"])
        else:
            assert result["relevance_score"] < best["score"]


def test_thresholds_and_structured_documents(client: TestClient, expected: np.ndarray) -> None:
    limit = float(np.sort(expected)[-2])
    body = {"query": QUERY, "documents": TEXTS, "score_threshold": limit - 1e-4}
    assert len(client.post("/v1/rerank", json=body).json()["results"]) == 2
    fields = {"query": QUERY, "documents": [{"title": "a", "body": "b"}], "rank_fields": ["body"]}
    told = client.post("/v1/rerank", json=fields).json()["results"][0]["document"]
    assert told == {"text": "body: b"}


BAD: list[tuple[str, Any, int, str]] = [
    ("/v2/rerank", {"documents": ["a"]}, 422, "query"),
    ("/v2/rerank", {"query": "", "documents": ["a"]}, 422, "query"),
    ("/v2/rerank", {"query": "a", "documents": []}, 422, "documents"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, 422, "top_n"),
    ("/v1/rerank", {"query": "a", "documents": [{"image": "b"}]}, 422, "documents[0]"),
    ("/v1/rerank", {"query": "a", "documents": ["b"] * 51}, 422, "51 documents"),
    ("/v1/rerank", {"query": "a\ud800", "documents": ["b"]}, 422, "surrogate"),
    ("/rerank", {"query": "a", "texts": ["b"], "truncation_direction": "up"}, 422, "left"),
    ("/score", {"text_1": "a"}, 400, "text_2"),
    ("/score", {"text_1": ["a", "b"], "text_2": ["a"]}, 400, "2 texts against 1"),
    ("/predict", {"inputs": ["a"]}, 422, "inputs"),
]


@pytest.mark.parametrize(("route", "body", "status", "word"), BAD)
def test_mistakes_are_told_in_the_clients_dialect(
    client: TestClient, route: str, body: Any, status: int, word: str
) -> None:
    answer = client.post(route, content=json.dumps(body))
    assert answer.status_code == status
    told = answer.json()
    if route.startswith("/v"):
        assert told["message"] == told["detail"]
        message = told["message"]
    elif route == "/score":
        assert told["error"]["code"] == status
        message = told["error"]["message"]
    else:
        assert told["error_type"] == "validation"
        message = told["error"]
    assert word in message


def test_what_is_not_json_and_what_is_not_there(client: TestClient) -> None:
    broken = client.post("/v2/rerank", content='{"query": ')
    assert broken.status_code == 400
    assert "not JSON" in broken.json()["message"]
    assert client.get("/nothing").status_code == 404
    assert client.get("/v2/rerank").status_code == 405
    assert client.get("/v2/rerank").headers["allow"] == "POST"


def test_information(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    info = client.get("/info").json()
    assert info["max_input_length"] == 32
    assert info["max_client_batch_size"] == 50
    client.post("/v2/rerank", json={"query": QUERY, "documents": TEXTS})
    figures = client.get("/metrics").text
    assert 'rankwright_requests_total{route="/v2/rerank",status="200"} 1.0' in figures
    assert "rankwright_pairs_total 4.0" in figures
    routes = client.get("/openapi.json").json()["paths"]
    assert {"/v2/rerank", "/v1/rerank", "/rerank", "/score", "/predict"} <= set(routes)


def test_deadlines(model: CrossEncoder) -> None:
    served = TorchModel(model)
    plain = served.logits

    def slow(pairs: Any) -> Any:
        import time

        time.sleep(0.2)
        return plain(pairs)

    served.logits = slow  # type: ignore[method-assign]
    with TestClient(create_app(served, ServerSettings(deadline_seconds=0.05))) as client:
        answer = client.post("/v2/rerank", json={"query": QUERY, "documents": TEXTS})
        assert answer.status_code == 504
        assert "no result before the deadline" in answer.json()["message"]
    with TestClient(create_app(served)) as client:
        late = {"query": QUERY, "documents": TEXTS, "deadline_ms": 50}
        assert client.post("/v2/rerank", json=late).status_code == 504
        in_time = {**late, "deadline_ms": 20_000}
        assert client.post("/v2/rerank", json=in_time).status_code == 200


def test_a_fault_of_the_model_is_told_without_details_of_texts(model: CrossEncoder) -> None:
    served = TorchModel(model)

    def broken(pairs: Any) -> Any:
        raise RuntimeError("out of memory")

    served.logits = broken  # type: ignore[method-assign]
    with TestClient(create_app(served)) as client:
        answer = client.post("/v2/rerank", json={"query": QUERY, "documents": TEXTS})
        assert answer.status_code == 500
        assert "out of memory" in answer.json()["message"]
        assert client.get("/health").status_code == 200
