"""What can go wrong with a request, whichever dialect it is written in."""

from __future__ import annotations

__all__ = ["Problem"]


class Problem(Exception):
    """A request that gets no scores.

    Attributes:
        status: HTTP status.
        kind: ``"validation"``, ``"empty"``, ``"overloaded"``, ``"unauthorized"``, ``"too_large"``,
            ``"timeout"``, ``"unavailable"``, ``"not_found"`` or ``"backend"``.
        message: What was found, what was expected, what to do. Never a document's text.
        retry_after: Seconds after which another try makes sense; None if none does.
    """

    def __init__(
        self, status: int, kind: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.retry_after = retry_after
