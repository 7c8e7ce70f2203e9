"""Before a request reaches its route: key, room, body; after it: one line of log."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rankwright.serving.dialects import COHERE, TEI, VLLM, problem_response
from rankwright.serving.metrics import Metrics
from rankwright.serving.problems import Problem
from rankwright.serving.settings import ServerSettings

__all__ = ["Guard"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/health", "/ready"})
"""Paths that need no key: they tell nothing of the model's inputs."""

SCORED = frozenset({*COHERE, *TEI, *VLLM})

logger = logging.getLogger("rankwright.serving.requests")


class ClientGone(Exception):
    """The connection ended before the body did."""


class Guard:
    """ASGI middleware. Reads the whole body, within limits of size and time, before the app runs.

    Args:
        app: The application.
        settings: Limits and keys.
        metrics: Where figures go.
    """

    def __init__(self, app: App, settings: ServerSettings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection event, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _Call(scope, send)
        counted = False
        try:
            self._check_key(scope)
            if scope["method"] == "POST":
                self._check_room()
                self._running += 1
                self.metrics.running.set(self._running)
                counted = True
                receive = await self._with_body(scope, receive)
            await self.app(scope, receive, call.send)
        except Problem as problem:
            await problem_response(scope["path"], problem)(scope, receive, call.send)
        except ClientGone:
            call.status = 499
        except Exception:  # whatever is wrong in a route, its client must get an answer
            # A fault of ours: its traceback goes to the log, never to the client.
            logger.exception("request %s failed", call.id)
            if not call.started:
                fault = Problem(500, "backend", f"internal error; see the log for {call.id}")
                await problem_response(scope["path"], fault)(scope, receive, call.send)
        finally:
            if counted:
                self._running -= 1
                self.metrics.running.set(self._running)
            self._note(scope, call)

    def _check_key(self, scope: Scope) -> None:
        keys = self.settings.api_keys
        if not keys or scope["path"] in OPEN:
            return
        value = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        kind, _, given = value.partition(b" ")
        # Every key is compared, so that the time does not tell which one was nearly right.
        fits = [hmac.compare_digest(given.strip(), key.encode()) for key in keys]
        if kind.lower() != b"bearer" or not any(fits):
            raise Problem(401, "unauthorized", "this server needs a key: Authorization: Bearer KEY")

    def _check_room(self) -> None:
        if self._running >= self.settings.max_requests:
            self.metrics.rejected("requests")
            raise Problem(
                429, "overloaded", f"{self._running} requests are being worked on already", 1
            )

    async def _with_body(self, scope: Scope, receive: Receive) -> Receive:
        most = self.settings.max_body_bytes
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        too_large = Problem(
            413, "too_large", f"the body is larger than {most} bytes. Send fewer documents."
        )
        if length.isdigit() and int(length) > most:
            raise too_large
        body = bytearray()

        async def read() -> None:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body.extend(message.get("body", b""))
                if len(body) > most:
                    raise too_large
                more = message.get("more_body", False)

        try:
            await asyncio.wait_for(read(), self.settings.body_seconds)
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            raise Problem(
                408,
                "timeout",
                f"the body did not arrive within {self.settings.body_seconds:g} s",
            ) from None
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return replay

    def _note(self, scope: Scope, call: _Call) -> None:
        seconds = time.perf_counter() - call.began
        # Unknown paths are one label: anybody could make up any number of them.
        route = getattr(scope.get("route"), "path", None)
        if route is None:  # refused before a route was looked for
            route = scope["path"] if scope["path"] in SCORED else "other"
        self.metrics.request(route, call.status, seconds)
        line = {
            "id": call.id,
            "method": scope["method"],
            "route": route,
            "status": call.status,
            "ms": round(1000 * seconds, 2),
            **scope.get("rankwright", {}),
        }
        logger.info(json.dumps(line, ensure_ascii=False))


class _Call:
    """What is known of one request while it runs."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.id = uuid.uuid4().hex
        self.began = time.perf_counter()
        self.status = 500
        self.started = False
        self._send = send
        scope["rankwright"] = {}

    async def send(self, message: Message) -> None:
        """Passes a message on and remembers the status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started = True
            headers = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)
