"""Evaluation mode that several threads can share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["EvaluationMode"]


class EvaluationMode:
    """Holds a module in evaluation mode while at least one block is open.

    Threads that overlap share one change of the flags, so that the first to finish does not
    switch dropout on under the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._training: list[nn.Module] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a lock cannot travel to another process, and no block is open there

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    @contextmanager
    def __call__(self, module: nn.Module) -> Iterator[None]:
        """Everything in ``module`` evaluates until the last open block ends."""
        with self._lock:
            if self._open == 0:
                # Part of a model may be frozen in evaluation mode: only the others go back.
                self._training = [m for m in module.modules() if m.training]
                for part in self._training:
                    part.training = False
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                if self._open == 0:
                    for part in self._training:
                        part.training = True
                    self._training = []
