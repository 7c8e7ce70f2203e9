"""Work that one thread does ahead of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["chunks", "one_ahead"]

T = TypeVar("T")
R = TypeVar("R")

FIRST = 2048
REST = 16_384


def chunks(items: Sequence[T], first: int = FIRST, rest: int = REST) -> Iterator[Sequence[T]]:
    """Cuts a sequence into pieces: a small one, so that work starts soon, then large ones."""
    begin, size = 0, first
    while begin < len(items):
        yield items[begin : begin + size]
        begin, size = begin + size, rest


def one_ahead(function: Callable[[T], R], items: Iterator[T]) -> Iterator[R]:
    """``map(function, items)``, with the next result made while the present one is used.

    One worker thread makes the results, in order; at most one waits. A single item is worked on
    in the calling thread. An exception of ``function`` is raised where its result is due.
    """
    ahead = next(items, None)
    if ahead is None:
        return
    following = next(items, None)
    if following is None:
        yield function(ahead)
        return
    with ThreadPoolExecutor(1, "rankwright-ahead") as worker:
        waiting = worker.submit(function, ahead)
        while following is not None:
            ready = waiting.result()
            waiting = worker.submit(function, following)
            following = next(items, None)
            yield ready
        yield waiting.result()
