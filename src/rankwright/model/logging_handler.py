"""Log lines that do not tear progress bars apart."""

from __future__ import annotations

import logging

from tqdm.auto import tqdm

__all__ = ["LoggingHandler"]


class LoggingHandler(logging.Handler):
    """Writes log lines above progress bars instead of through them.

    ``logging.basicConfig(level=logging.INFO, handlers=[LoggingHandler()])`` in a program sees to
    that for all loggers.

    Args:
        level: The least level that is written.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line to standard output."""
        try:
            tqdm.write(self.format(record))
        except Exception:  # logging must not end a program; this says what went wrong
            self.handleError(record)
