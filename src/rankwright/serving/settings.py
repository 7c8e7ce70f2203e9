"""`ServerSettings`: limits and switches of the HTTP server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from rankwright.errors import InputError

__all__ = ["LONG_DOCUMENTS", "ServerSettings"]

LONG_DOCUMENTS = ("first", "max", "mean")
"""How the windows of a document that is too long become one score: the first window's score
(the rest is cut off), the highest, or the mean of the highest three."""


@dataclass(frozen=True)
class ServerSettings:
    """Limits and switches of the HTTP server.

    Attributes:
        model_name: The name clients see; requests may name another, which is answered alike.
        api_keys: Keys, one of which every request must bring as a bearer token; none for an
            open server.
        max_body_bytes: Largest request body.
        max_documents: Most documents in one request.
        max_request_tokens: Most tokens of all pairs of one request together, after truncation.
        max_requests: Most requests worked on at once; further ones get 429.
        max_queue_tokens: Most tokens waiting to be scored; further requests get 429.
        batch_tokens: Most tokens in one forward pass; None lets the model choose.
        deadline_seconds: Longest time a request may take before it gets 504.
        body_seconds: Longest time a client may take to send its body before it gets 408, to
            send the head before it, or to take nothing of an answer before it is cut off.
        drain_seconds: How long running requests may go on after a request to stop.
        long_documents: One of `LONG_DOCUMENTS`; requests may choose another.
        max_windows: Most windows of one document.
        log_texts: Whether request logs hold the query. Documents are never logged.
        playground: Whether ``/`` shows the page to try the model on.
    """

    model_name: str = "reranker"
    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = 8 * 2**20
    max_documents: int = 1000
    max_request_tokens: int = 1_000_000
    max_requests: int = 512
    max_queue_tokens: int = 4_000_000
    batch_tokens: int | None = None
    deadline_seconds: float = 60.0
    body_seconds: float = 20.0
    drain_seconds: float = 30.0
    long_documents: str = "first"
    max_windows: int = 32
    log_texts: bool = False
    playground: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and not value > 0:
                raise InputError(f"{field.name} is {value!r}; expected a number above 0.")
        if self.long_documents not in LONG_DOCUMENTS:
            raise InputError(
                f"long_documents={self.long_documents!r} is not known; choose one of "
                f"{', '.join(LONG_DOCUMENTS)}."
            )
        for key in self.api_keys:
            if not key.isascii() or len(key) < 8:
                raise InputError(
                    "An API key must be at least 8 ASCII characters long; one of those given "
                    f"has {len(key)} characters."
                )

    def to_json(self) -> str:
        """One line of JSON, to hand to worker processes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServerSettings:
        """The reverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["api_keys"] = tuple(values["api_keys"])
        return cls(**values)
