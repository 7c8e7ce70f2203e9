"""Long documents: cut to a length, or seen through overlapping windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwright.serving.model import AnyTokenizer

__all__ = ["BEST", "Window", "combine", "cut", "windows_of"]

OVERLAP = 4
"""Neighbouring windows share one part in this many."""
BEST = 3
"""How many of the highest windows ``"mean"`` averages."""


@dataclass(frozen=True)
class Window:
    """A stretch of a document, in characters; ``stop`` is the first one after it."""

    start: int
    stop: int


def cut(tokenizer: AnyTokenizer, text: str, most_tokens: int) -> tuple[str, bool]:
    """The text's beginning of at most so many tokens, and whether anything was lost."""
    if tokenizer.token_counts([text])[0] <= most_tokens:
        return text, False
    return text[: tokenizer.offsets(text)[most_tokens - 1][1]], True


def windows_of(
    tokenizer: AnyTokenizer, text: str, room: int, most: int
) -> tuple[list[Window], bool]:
    """Overlapping windows that together show a text.

    Args:
        tokenizer: Counts tokens.
        text: The document.
        room: Most tokens in a window, at least 1.
        most: Most windows.

    Returns:
        The windows from front to back, at least one; and whether the text goes on after the last.
    """
    if tokenizer.token_counts([text])[0] <= room:
        return [Window(0, len(text))], False
    offsets = tokenizer.offsets(text)
    stride = max(room - max(room // OVERLAP, 1), 1)
    windows: list[Window] = []
    begin = 0
    while len(windows) < most:
        end = min(begin + room, len(offsets))
        windows.append(Window(offsets[begin][0], offsets[end - 1][1]))
        if end == len(offsets):
            return windows, False
        begin += stride
    return windows, True


def combine(scores: NDArray[np.float32], how: str) -> float:
    """One score from the scores of a document's windows, front to back.

    Args:
        scores: ``(W,)`` with W at least 1.
        how: ``"first"``, ``"max"`` or ``"mean"`` (of the highest `BEST`).
    """
    if how == "first":
        return float(scores[0])
    if how == "max":
        return float(scores.max())
    return float(np.sort(scores)[::-1][:BEST].mean(dtype=np.float64))
