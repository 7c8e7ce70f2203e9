"""`PatientConnection`: a client that stalls loses its connection, and what it held with it."""

from __future__ import annotations

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PATIENCE", "PatientConnection"]

PATIENCE = "patience_seconds"
"""Key of the lifespan's state that says how long a client may stall."""
DEFAULT_PATIENCE = 20.0
SEND_BYTES = 256 * 1024
"""What the system may hold of an answer for one client. It tells of progress only every third of
that or so; left to itself it takes megabytes, and a slow client would seem to stall."""
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class PatientConnection(H11Protocol):
    """uvicorn's connection, with a limit on two things that it would wait for without end.

    A client that has sent half of a request's head gets 408; slow bodies are the `Guard`'s
    matter. One that takes nothing of its answer for so long is cut off: until then the answer
    is kept in memory. A client that takes it slowly is served to the end.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None

    @property
    def _patience(self) -> float:
        return float(self.app_state.get(PATIENCE, DEFAULT_PATIENCE))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is there; its request must follow."""
        super().connection_made(transport)
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Something of a request came."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_head_timer()
        self._stop_answer_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is made."""
        super().pause_writing()
        if self._answer_timer is None:
            self._watch_answer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_answer_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """No further request came. Closing would wait for an answer that nobody takes."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._patience, self._end_head)

    def _end_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.write(TOO_LATE)
            self.transport.close()

    def _watch_answer(self, left: int) -> None:
        def look() -> None:
            now = self.transport.get_write_buffer_size()
            if now < left:
                self._watch_answer(now)
            else:
                self.transport.abort()

        self._answer_timer = self.loop.call_later(self._patience, look)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
