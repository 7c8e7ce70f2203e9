"""Pools of worker processes of the models that offer them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rankwright.errors import InputError
from rankwright.mining.dense import DenseRetriever
from rankwright.mining.first_stage import FirstStage

__all__ = ["encoding_pool", "worker_pool"]


@contextmanager
def worker_pool(model: Any, use_multi_process: Sequence[str] | bool) -> Iterator[Any]:
    """A pool of ``model``, stopped at the end; None when ``use_multi_process`` is False.

    Raises:
        InputError: ``model`` has no ``start_multi_process_pool``.
    """
    if use_multi_process is False:
        yield None
        return
    if not callable(getattr(model, "start_multi_process_pool", None)):
        raise InputError(
            f"use_multi_process needs a model with start_multi_process_pool, which "
            f"{type(model).__name__} has not. Leave use_multi_process out."
        )
    devices = None if use_multi_process is True else list(use_multi_process)
    pool = model.start_multi_process_pool(target_devices=devices)
    try:
        yield pool
    finally:
        model.stop_multi_process_pool(pool)


@contextmanager
def encoding_pool(stage: FirstStage, use_multi_process: Sequence[str] | bool) -> Iterator[None]:
    """Lets a `DenseRetriever` encode in several processes inside the block."""
    encoder = stage.encoder if isinstance(stage, DenseRetriever) else stage
    with worker_pool(encoder, use_multi_process) as pool:
        if pool is None or not isinstance(stage, DenseRetriever):
            yield
            return
        stage.with_pool(pool)
        try:
            yield
        finally:
            stage.with_pool(None)
