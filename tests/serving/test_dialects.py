"""What each family of clients expects beyond scores: statuses, headers, truncation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from rankwright.serving.reading import Asked, Reader
from tests.tiny import tiny_tokenizer

QUERY = "sort a list"
TEXTS = ["open the file", "how do i sort a list of files", "remove a row"]
LONG = "read the file of the list and sort the row " * 6
TEI = {"query": QUERY, "texts": TEXTS}
VLLM = {"query": QUERY, "documents": TEXTS}


class Broken(TorchModel):
    def logits(self, pairs: Any) -> Any:
        raise RuntimeError("out of memory")


@pytest.fixture
def broken(model: CrossEncoder) -> Iterator[TestClient]:
    with TestClient(create_app(Broken(model))) as client:
        yield client


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "body", "status", "kind"),
    [
        ("/rerank", {"query": "a", "texts": []}, 400, "empty"),
        ("/rerank", {"query": "a", "texts": ["b"] * 51}, 413, "validation"),
        ("/predict", {"inputs": [["a", "b"]] * 51}, 413, "validation"),
        ("/rerank", {"texts": ["b"]}, 422, "validation"),
    ],
)
def test_statuses_of_text_embeddings_inference(
    client: TestClient, route: str, body: Any, status: int, kind: str
) -> None:
    answer = client.post(route, json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "error_type"}
    assert answer.json()["error_type"] == kind


def test_a_fault_of_the_model_in_each_dialect(broken: TestClient) -> None:
    tei = broken.post("/rerank", json=TEI)
    assert (tei.status_code, tei.json()["error_type"]) == (424, "backend")
    vllm = broken.post("/rerank", json=VLLM)
    assert (vllm.status_code, vllm.json()["error"]["code"]) == (500, 500)
    assert broken.post("/v2/rerank", json=VLLM).status_code == 500


@pytest.mark.parametrize(
    "body",
    [
        {"query": "a", "documents": []},
        {"query": "a", "documents": [{"image": "x"}]},
        {"query": "a", "documents": ["b"] * 51},
    ],
)
def test_documents_at_rerank_are_answered_as_vllm_and_jina_do(
    client: TestClient, body: Any
) -> None:
    answer = client.post("/rerank", json=body)
    assert answer.status_code == 422
    told = answer.json()
    assert told["error"]["message"] == told["detail"]
    assert "documents" in told["detail"]
    assert told["error"]["code"] == 422


# --- fields and headers --------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [9, 14, 1000, -1, 0])
def test_truncate_prompt_tokens(client: TestClient, model: CrossEncoder, longest: int) -> None:
    pairs = [(QUERY, text) for text in (*TEXTS, LONG)]
    limit = min(longest, 32) if longest > 0 else 32
    expected = model.predict(pairs, max_length=limit)
    body = {"query": QUERY, "documents": [*TEXTS, LONG], "truncate_prompt_tokens": longest}
    found = client.post("/rerank", json=body).json()
    by_index = sorted(found["results"], key=lambda row: row["index"])
    np.testing.assert_allclose([r["relevance_score"] for r in by_index], expected, atol=1e-6)
    told = {"text_1": QUERY, "text_2": [*TEXTS, LONG], "truncate_prompt_tokens": longest}
    rows = client.post("/score", json=told).json()["data"]
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)
    assert found["meta"]["truncated_documents"] == model.score(pairs, max_length=limit).truncated


def test_too_few_tokens_are_told(client: TestClient) -> None:
    answer = client.post("/rerank", json={**VLLM, "truncate_prompt_tokens": 2})
    assert answer.status_code == 422
    assert "leaves no room" in answer.json()["detail"]


def test_logits_on_every_rerank_route(client: TestClient, model: CrossEncoder) -> None:
    logits = model.predict([(QUERY, text) for text in TEXTS], activation_fn="identity")
    for route in ("/v1/rerank", "/rerank"):
        rows = client.post(route, json={**VLLM, "use_activation": False}).json()["results"]
        got = {row["index"]: row["relevance_score"] for row in rows}
        np.testing.assert_allclose([got[i] for i in range(3)], logits, atol=1e-5)


def test_shapes_of_vllm_and_jina(client: TestClient) -> None:
    vllm = client.post("/rerank", json=VLLM).json()["results"][0]["document"]
    jina = client.post("/v1/rerank", json=VLLM).json()["results"][0]["document"]
    assert vllm == {**jina, "multi_modal": None}
    assert set(jina) == {"text"}


def test_headers_of_text_embeddings_inference(client: TestClient) -> None:
    answer = client.post("/rerank", json=TEI)
    assert answer.headers["x-compute-type"] == "torch"
    characters = sum(len(QUERY) + len(text) for text in TEXTS)
    assert int(answer.headers["x-compute-characters"]) == characters
    for name in ("compute-time", "compute-tokens", "total-time", "tokenization-time"):
        assert int(answer.headers[f"x-{name}"]) >= 0
    for name in ("x-queue-time", "x-inference-time"):
        assert int(answer.headers[name]) >= 0


def test_a_hundred_documents_are_one_unit(model: CrossEncoder) -> None:
    with TestClient(create_app(TorchModel(model))) as client:
        for count, units in ((100, 1), (101, 2)):
            body = {"query": "a", "documents": ["sort"] * count, "top_n": 1}
            meta = client.post("/v2/rerank", json=body).json()["meta"]
            assert meta["billed_units"] == {"search_units": units}


def test_what_has_no_effect_is_told(client: TestClient) -> None:
    plain = client.post("/v1/rerank", json=VLLM).json()
    told = client.post("/v1/rerank", json={**VLLM, "instruction": "Find code."}).json()
    assert told["results"] == plain["results"]
    assert "warnings" not in plain["meta"]
    assert told["meta"]["warnings"] == [
        "instruction: this model has no place for one; it was ignored"
    ]


def test_fewer_windows(client: TestClient, model: CrossEncoder) -> None:
    long = " ".join(["open the file"] * 20 + ["sort a list"] * 3)
    body = {"query": QUERY, "documents": [long], "long_documents": "max"}
    spans = {"relevant_spans": {"mode": "enabled", "threshold": 0}}
    for most in (1, 2):
        asked = {**body, **spans, "max_chunks_per_doc": most}
        found = client.post("/v1/rerank", json=asked).json()
        [result] = found["results"]
        assert len(result["relevant_spans"]) == most
        assert found["meta"]["truncated_documents"] == 1
        scores = model.predict(
            [(QUERY, long[s["start"] : s["end"]]) for s in result["relevant_spans"]]
        )
        assert result["relevance_score"] == pytest.approx(float(scores.max()), abs=1e-6)


def test_spans_end_where_the_model_stopped_reading(client: TestClient, model: CrossEncoder) -> None:
    body = {
        "query": QUERY,
        "documents": [LONG, "a list"],
        "relevant_spans": {"mode": "enabled", "threshold": 0},
    }
    found = client.post("/v2/rerank", json=body).json()["results"]
    spans = {row["index"]: row["relevant_spans"] for row in found}
    [whole], [part] = spans[1], spans[0]
    assert (whole["start"], whole["end"]) == (0, len("a list"))
    assert 0 == part["start"] < part["end"] < len(LONG)
    read = LONG[: part["end"]]
    assert model.score([(QUERY, read)]).truncated == 0
    assert model.score([(QUERY, read + " the")]).truncated == 1
    assert part["score"] == pytest.approx(float(model.predict((QUERY, read))), abs=1e-6)


# --- texts that lose their beginnings ------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "document"),
    [
        (QUERY, LONG + "open a table"),
        ("read a file " * 20, "sort the row " * 20),
        ("read a file " * 20, "sort"),
        (QUERY, "a list"),
    ],
)
def test_truncation_from_the_left(
    client: TestClient, model: CrossEncoder, query: str, document: str
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.truncation_side = "left"
    expected = tokenizer(query, document, truncation=True, max_length=32)["input_ids"]
    reader = Reader(TorchModel(model), ServerSettings())
    prepared = reader.prepare([(query, document)], Asked(keep_end=True))
    assert prepared.tokens.input_ids[0].tolist() == expected
    assert prepared.cut == [model.score([(query, document)]).truncated == 1]
    body = {"query": query, "texts": [document], "raw_scores": True}
    right = client.post("/rerank", json=body).json()[0]["score"]
    left = client.post("/rerank", json={**body, "truncation_direction": "Left"}).json()[0]["score"]
    assert (left == pytest.approx(right, abs=1e-6)) is not prepared.cut[0]


# --- the description -----------------------------------------------------------------------------

ASKED: list[tuple[str, Any]] = [
    ("/v2/rerank", {**VLLM, "relevant_spans": {"mode": "enabled", "threshold": 0}}),
    ("/v2/rerank", {**VLLM, "max_tokens_per_doc": 1}),
    ("/v2/rerank", {"query": QUERY}),
    ("/v1/rerank", VLLM),
    ("/v1/rerank", {**VLLM, "return_documents": False}),
    ("/v1/rerank", {**VLLM, "top_n": -1}),
    ("/rerank", VLLM),
    ("/rerank", {**TEI, "return_text": True}),
    ("/rerank", TEI),
    ("/rerank", {"query": "a", "texts": []}),
    ("/rerank", {"query": "a", "documents": []}),
    ("/score", {"text_1": QUERY, "text_2": TEXTS}),
    ("/score", {"text_1": QUERY}),
    ("/predict", {"inputs": [QUERY, TEXTS[0]]}),
    ("/predict", {"inputs": [[QUERY, TEXTS[0]]]}),
    ("/predict", {"inputs": 3}),
]


@pytest.mark.parametrize(("route", "body"), ASKED)
def test_answers_are_as_openapi_describes_them(
    client: TestClient, route: str, body: dict[str, Any]
) -> None:
    jsonschema = pytest.importorskip("jsonschema_rs")
    description = client.get("/openapi.json").json()
    answer = client.post(route, json=body)
    told = description["paths"][route]["post"]["responses"][str(answer.status_code)]
    schema = told["content"]["application/json"]["schema"]
    whole = {**closed(schema), "components": closed(description["components"])}
    assert jsonschema.is_valid(whole, answer.json()), answer.json()
    assert not jsonschema.is_valid(whole, {"something": "else"})


def closed(schema: Any) -> Any:
    """The same schema, in which objects have no other fields than those described."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    return {**parts, "additionalProperties": False} if "properties" in schema else parts
