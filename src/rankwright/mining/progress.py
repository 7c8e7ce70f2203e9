"""When a progress bar is shown."""

from __future__ import annotations

import logging

__all__ = ["bars_wanted"]


def bars_wanted(show_progress_bar: bool | None, logger: logging.Logger) -> bool:
    """True or False as asked; None means: shown when ``logger`` is at INFO or lower."""
    return logger.isEnabledFor(logging.INFO) if show_progress_bar is None else show_progress_bar
