"""Keys, limits, slow and vanishing clients, logs: on a real socket."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlparse

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from rankwright import CrossEncoder
from rankwright.errors import InputError
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.live import listening, until

BODY = {"query": "sort a list", "documents": ["open the file", "sort"]}
KEYS = ("first-key-of-two", "second-key-of-two")


class Gated(TorchModel):
    """A model that scores only when it is let."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__(model)
        self.open = threading.Event()
        self.passes = 0

    def logits(self, pairs: Any) -> Any:
        assert self.open.wait(10)
        self.passes += 1
        return super().logits(pairs)


def raw(address: str) -> socket.socket:
    parts = urlparse(address)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10)


def test_keys(model: CrossEncoder) -> None:
    with TestClient(create_app(TorchModel(model), ServerSettings(api_keys=KEYS))) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong-key"},
            {"Authorization": f"Basic {KEYS[0]}"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer \xe9\xe9\xe9"},
        ):
            encoded = {k: v.encode("latin-1") for k, v in headers.items()}
            answer = client.post("/v2/rerank", json=BODY, headers=encoded)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        for key in KEYS:
            headers = {"Authorization": f"bearer {key}"}
            assert client.post("/v2/rerank", json=BODY, headers=headers).status_code == 200
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/info").status_code == 401


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="API key"):
        ServerSettings(api_keys=("short",))
    with pytest.raises(InputError, match="max_documents is 0"):
        ServerSettings(max_documents=0)
    with pytest.raises(InputError, match="first, max, mean"):
        ServerSettings(long_documents="median")
    there = ServerSettings(api_keys=KEYS, deadline_seconds=3)
    assert ServerSettings.from_json(there.to_json()) == there


def test_large_bodies_are_refused_early(model: CrossEncoder) -> None:
    app = create_app(TorchModel(model), ServerSettings(max_body_bytes=2000))
    with listening(app) as address:
        large = {"query": "a", "documents": ["b" * 3000]}
        answer = httpx.post(f"{address}/v2/rerank", json=large)
        assert answer.status_code == 413
        assert "2000 bytes" in answer.json()["message"]

        def chunks() -> Any:
            yield b'{"query": "a", "documents": ["'
            yield b"b" * 3000

        assert httpx.post(f"{address}/v2/rerank", content=chunks()).status_code == 413
        assert httpx.post(f"{address}/v2/rerank", json=BODY).status_code == 200


def test_half_a_body_and_a_slow_one(model: CrossEncoder) -> None:
    app = create_app(TorchModel(model), ServerSettings(body_seconds=0.3))
    head = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    with listening(app) as address:
        with raw(address) as gone:
            gone.sendall(head)
        with raw(address) as slow:
            slow.sendall(head)
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        assert httpx.post(f"{address}/v2/rerank", json=BODY).status_code == 200
        figures = httpx.get(f"{address}/metrics").text
        assert "rankwright_running_requests 0.0" in figures


def test_no_room(model: CrossEncoder) -> None:
    gated = Gated(model)
    app = create_app(gated, ServerSettings(max_requests=2))
    with listening(app) as address, ThreadPoolExecutor(2) as clients:
        running = [
            clients.submit(httpx.post, f"{address}/v2/rerank", json=BODY, timeout=20)
            for _ in range(2)
        ]
        until(lambda: "running_requests 2.0" in httpx.get(f"{address}/metrics").text)
        refused = httpx.post(f"{address}/rerank", json={"query": "a", "texts": ["b"]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error_type"] == "overloaded"
        gated.open.set()
        assert [future.result().status_code for future in running] == [200, 200]
        assert httpx.post(f"{address}/v2/rerank", json=BODY).status_code == 200


def test_a_full_queue(model: CrossEncoder) -> None:
    gated = Gated(model)
    app = create_app(gated, ServerSettings(max_queue_tokens=30))
    with listening(app) as address, ThreadPoolExecutor(2) as clients:
        first = clients.submit(httpx.post, f"{address}/v2/rerank", json=BODY, timeout=20)
        until(lambda: app.state.service.batcher.waiting_tokens > 0)
        second = httpx.post(f"{address}/v2/rerank", json={**BODY, "documents": ["sort"] * 9})
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) >= 1
        gated.open.set()
        assert first.result().status_code == 200


def test_a_client_that_goes_away_frees_its_work(model: CrossEncoder) -> None:
    gated = Gated(model)
    app = create_app(gated, ServerSettings(batch_tokens=16))
    body = json.dumps({"query": "a", "documents": ["sort a list of files"] * 40}).encode()
    head = f"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    batcher = app.state.service.batcher
    with listening(app) as address:
        with raw(address) as leaving:
            leaving.sendall(head.encode() + body)
            until(lambda: batcher.waiting_tokens > 0)
        until(lambda: "running_requests 0.0" in httpx.get(f"{address}/metrics").text)
        gated.open.set()
        until(lambda: batcher.waiting_tokens == 0)
        assert gated.passes <= 2, "pairs of a client that left were scored"
        assert httpx.post(f"{address}/v2/rerank", json=BODY).status_code == 200
        assert 'status="499"' in httpx.get(f"{address}/metrics").text


def test_a_huge_request_does_not_hold_up_the_reading_of_small_ones(
    model: CrossEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(TorchModel(model))
    reading, going_on = threading.Event(), threading.Event()
    encode = type(app.state.service.model.tokenizer).encode

    def slow(self: Any, pairs: Any, *rest: Any, **more: Any) -> Any:
        if len(pairs[0][1]) > 10_000:
            reading.set()
            assert going_on.wait(10)
        return encode(self, pairs, *rest, **more)

    monkeypatch.setattr(type(app.state.service.model.tokenizer), "encode", slow)
    huge = {"query": "a", "documents": ["sort a list " * 50_000]}
    with listening(app) as address, ThreadPoolExecutor(4) as clients:
        waiting = [
            clients.submit(httpx.post, f"{address}/v2/rerank", json=huge, timeout=30)
            for _ in range(4)
        ]
        assert reading.wait(10)
        try:
            assert httpx.post(f"{address}/v2/rerank", json=BODY).status_code == 200
        finally:
            going_on.set()
        assert [future.result().status_code for future in waiting] == [200] * 4


def test_many_clients_get_their_own_scores(model: CrossEncoder) -> None:
    words = ["sort", "open", "file", "list", "row", "train", "rank", "search"]
    requests = [
        (a, [f"{b} {c}" for b in words[: 1 + i % 5] for c in words[: 1 + i % 3]])
        for i, a in enumerate(words * 6)
    ]
    with listening(create_app(TorchModel(model))) as address, ThreadPoolExecutor(8) as clients:

        def ask(request: tuple[str, list[str]]) -> list[float]:
            query, texts = request
            body = {"text_1": query, "text_2": texts}
            answer = httpx.post(f"{address}/score", json=body, timeout=30)
            return [row["score"] for row in answer.json()["data"]]

        for (query, texts), scores in zip(requests, clients.map(ask, requests), strict=True):
            expected = model.predict([(query, text) for text in texts])
            np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("shown", [False, True])
def test_logs_hold_figures_and_no_texts(
    model: CrossEncoder, caplog: pytest.LogCaptureFixture, shown: bool
) -> None:
    secret = {"query": "secret query", "documents": ["secret document"]}
    with (
        caplog.at_level(logging.INFO, "rankwright.serving.requests"),
        TestClient(create_app(TorchModel(model), ServerSettings(log_texts=shown))) as client,
    ):
        identifier = client.post("/v2/rerank", json=secret).headers["x-request-id"]
        client.post("/v2/rerank", json={"query": "secret query", "documents": [{"x": "secret"}]})
    lines = [json.loads(record.message) for record in caplog.records]
    assert lines[0]["id"] == identifier
    assert lines[0]["route"] == "/v2/rerank"
    assert lines[0]["pairs"] == 1
    assert lines[0]["ms"] > 0
    assert "secret document" not in caplog.text
    assert ("secret query" in caplog.text) is shown
    assert lines[1]["status"] == 422


def test_draining_lets_running_requests_end(model: CrossEncoder) -> None:
    gated = Gated(model)
    with ThreadPoolExecutor(1) as clients:
        with listening(create_app(gated)) as address:
            running = clients.submit(httpx.post, f"{address}/v2/rerank", json=BODY, timeout=20)
            until(lambda: "running_requests 1.0" in httpx.get(f"{address}/metrics").text)
            threading.Timer(0.3, gated.open.set).start()
        assert running.result().status_code == 200


def test_a_hundred_requests_leave_no_threads_behind(model: CrossEncoder) -> None:
    before = threading.active_count()
    for _ in range(3):
        with TestClient(create_app(TorchModel(model))) as client:
            for _ in range(30):
                client.post("/v2/rerank", json=BODY)
    time.sleep(0.2)
    assert threading.active_count() <= before + 1
