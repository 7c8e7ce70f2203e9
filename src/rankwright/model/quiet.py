"""Keeps transformers' own reports and bars quiet where this library says the same better."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

__all__ = ["quiet_transformers"]

_LOCK = threading.Lock()
_LOADER = "transformers.modeling_utils"


class _NoLoadReport(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load report and no progress bar inside the block; everything else is still logged.

    Both are settings of the whole process, so only one block runs at a time.
    """
    with _LOCK:
        logger, report = logging.getLogger(_LOADER), _NoLoadReport()
        bars = transformers_logging.is_progress_bar_enabled()
        logger.addFilter(report)
        if bars:
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            logger.removeFilter(report)
            if bars:
                transformers_logging.enable_progress_bar()
