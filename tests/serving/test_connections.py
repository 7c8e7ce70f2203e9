"""Clients that stall, on a real socket: each loses its connection, and no other does."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from rankwright import CrossEncoder
from rankwright.serving import ServerSettings, TorchModel, create_app
from tests.serving.live import listening
from tests.serving.test_guard import BODY, raw

PATIENCE = 0.7
HEAD = b"POST /v2/rerank HTTP/1.1\r\nHost: a\r\n"
LARGE = 2_000_000


@pytest.fixture(scope="module")
def address(model: CrossEncoder):  # type: ignore[no-untyped-def]
    app = create_app(TorchModel(model), ServerSettings(body_seconds=PATIENCE))
    with listening(app) as address:
        yield address


@pytest.mark.parametrize("sent", [b"", b"GE", HEAD])
def test_half_a_head(address: str, sent: bytes) -> None:
    with raw(address) as stalled:
        began = time.monotonic()
        stalled.sendall(sent)
        said = stalled.recv(4096)
        assert said.startswith(b"HTTP/1.1 408")
        assert stalled.recv(1) == b""
        assert 0.8 * PATIENCE < time.monotonic() - began < 8


def test_half_a_head_after_a_whole_request(address: str) -> None:
    with raw(address) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        said = b""
        while not said.endswith(b'{"status":"ok"}'):
            said += client.recv(4096)
        # Between requests a connection may rest; uvicorn's own limit, of 30 seconds, holds there.
        client.settimeout(3 * PATIENCE)
        with pytest.raises(socket.timeout):
            client.recv(1)
        client.settimeout(10)
        client.sendall(b"GET /hea")
        assert client.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_head_in_pieces_is_no_trouble(address: str) -> None:
    with raw(address) as client:
        client.sendall(b"GET /health HTTP/1.1\r\n")
        time.sleep(PATIENCE / 2)
        client.sendall(b"Host: a\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_slow_answer_is_not_a_slow_client(model: CrossEncoder) -> None:
    class Slow(TorchModel):
        def logits(self, pairs):  # type: ignore[no-untyped-def]
            time.sleep(3 * PATIENCE)
            return super().logits(pairs)

    app = create_app(Slow(model), ServerSettings(body_seconds=PATIENCE))
    with listening(app) as address:
        assert httpx.post(f"{address}/v2/rerank", json=BODY, timeout=20).status_code == 200


def ask_much(address: str, room: int) -> socket.socket:
    """A client with little room, in bytes, asks for an answer that does not fit into it."""
    body = b'{"query": "a", "documents": ["%s"], "return_documents": true}' % (b"x" * LARGE)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    client.settimeout(60)
    host, port = address.removeprefix("http://").split(":")
    client.connect((host, int(port)))
    client.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
    client.sendall(body)
    return client


def read_all(client: socket.socket, pause: float) -> int:
    """Bytes until the connection ends or the answer is whole."""
    got = 0
    while got < LARGE:
        try:
            piece = client.recv(2**18)
        except OSError:
            break
        if not piece:
            break
        got += len(piece)
        time.sleep(pause)
    return got


def test_an_answer_that_nobody_takes(address: str) -> None:
    with ask_much(address, 4096) as client:
        assert client.recv(12) == b"HTTP/1.1 200"
        time.sleep(3 * PATIENCE + 0.5)
        assert httpx.get(f"{address}/health").status_code == 200
        assert read_all(client, 0) < LARGE
    figures = httpx.get(f"{address}/metrics").text
    assert "rankwright_running_requests 0.0" in figures


def test_an_answer_that_is_taken_slowly_arrives(address: str) -> None:
    with ask_much(address, 2**18) as client:
        assert client.recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        assert read_all(client, PATIENCE / 4) >= LARGE
        assert time.monotonic() - began > 1.5 * PATIENCE
