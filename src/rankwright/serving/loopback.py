"""The server inside a program, reached from this machine only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from rankwright.errors import DataNotFoundError
from rankwright.serving.app import create_app
from rankwright.serving.model import ServedModel
from rankwright.serving.settings import ServerSettings

__all__ = ["on_loopback"]

PATIENCE = 30.0
"""Seconds to wait for the start."""


@contextmanager
def on_loopback(model: ServedModel, settings: ServerSettings | None = None) -> Iterator[str]:
    """Serves a model from a thread while the block runs; gives the server's address.

    Args:
        model: What scores.
        settings: Limits and switches.

    Raises:
        DataNotFoundError: The server did not start.
    """
    app = create_app(model, settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="rankwright-loopback", daemon=True)
    thread.start()
    try:
        end = time.monotonic() + PATIENCE
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise DataNotFoundError("The HTTP server could not be started on 127.0.0.1.")
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
