"""SIGTERM while a request is on its way: it is answered, no new ones are taken."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.serving.live import until
from tests.serving.test_serve_command import BODY, serving


def taken(place: tuple[str, int]) -> bool:
    """Whether the address takes connections."""
    try:
        socket.create_connection(place, timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_was_begun_is_finished(folder: Path, workers: str) -> None:
    body = json.dumps(BODY).encode()
    head = f"POST /v2/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(folder, "--workers", workers) as (address, process):
        parts = urlparse(address)
        place = (str(parts.hostname), int(parts.port or 0))
        with socket.create_connection(place, timeout=20) as begun:
            begun.sendall(head.encode() + body[:9])
            time.sleep(0.5)  # until the server has read so much of it
            process.send_signal(signal.SIGTERM)
            if workers == "1":  # of several, the parent keeps the socket until all have ended
                until(lambda: not taken(place))
            else:
                time.sleep(0.5)
            assert process.poll() is None, "it ended while a request was on its way"
            begun.sendall(body[9:])
            answer = b""
            while part := begun.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"]) == 2
        assert process.wait(20) in (0, -signal.SIGTERM)
