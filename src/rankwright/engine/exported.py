"""Execution of exported models: padded batches of nearly equal lengths, several at a time.

Nothing here needs torch. Pairs are sorted by their number of tokens, so that hardly anything is
padded; each batch runs on one core, and as many run at once as there are cores. That beats giving
one batch to all cores, because no core waits for another within a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.schedule import token_batches
from rankwright.engine.tokenize import TokenizedPairs

__all__ = ["Backend", "ExportedOptions", "Features", "padded_features", "score_exported"]

Ids = NDArray[np.int64]
Features = Mapping[str, Ids]
"""Padded ``(B, L)`` inputs of one batch, by name."""

TOKEN_BUDGET = 1024
"""Most tokens in a batch: few enough for temporaries to stay in a core's cache.

Twice as many cost about a sixth of the speed on cores with 512 KiB of their own (MiniLM, float32 on
both engines, int8 on ONNX Runtime)."""


class Backend(Protocol):
    """An exported model, loaded; several threads may call it at once.

    Attributes:
        name: ``"onnx"``, ``"openvino"`` or ``"native"``.
        inputs: Names of the tensors it takes.
        computes: In which number format it really computes here: ``"float32"``, ``"bfloat16"``,
            or ``"int16"`` or ``"int8"`` for quantised models.
        threads: How many cores it uses.
        concurrency: How many calls may run at once.
        token_budget: Most tokens in a call that makes the best of the caches.
        width_step: Widths of batches are rounded up to a multiple of this.
    """

    name: str
    inputs: frozenset[str]
    computes: str
    threads: int
    concurrency: int
    token_budget: int
    width_step: int

    def __call__(self, features: Features) -> NDArray[np.float32]:
        """``(B, num_labels)`` logits of padded ``(B, L)`` int64 tensors by name."""


@dataclass(frozen=True)
class ExportedOptions:
    """How pairs are batched.

    Attributes:
        max_pairs: Most pairs in a batch; None for no limit.
        token_budget: Most tokens in a batch, before padding; None leaves it to the backend.
        pad_id: Token id of padding.
        progress: Whether to show a progress bar.
    """

    max_pairs: int | None = None
    token_budget: int | None = None
    pad_id: int = 0
    progress: bool = False


def score_exported(
    backend: Backend,
    pieces: Iterable[TokenizedPairs],
    total: int,
    options: ExportedOptions | None = None,
) -> NDArray[np.float32]:
    """Logits ``(P, num_labels)`` float32, in the order of the input.

    Args:
        backend: The model.
        pieces: Tokenised pairs, P >= 1 together; only one piece is held at a time.
        total: P, for the progress bar.
        options: How pairs are batched.
    """
    options = options or ExportedOptions()
    with _bar(total, options.progress) as advance:
        return np.concatenate([_score(backend, pairs, options, advance) for pairs in pieces])


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[int], object]]:
    if not wanted:
        yield lambda count: None
        return
    from tqdm.auto import tqdm  # takes longer to import than a small model to load

    with tqdm(total=total, unit="pair", desc="Scoring") as bar:
        yield bar.update


def _score(
    backend: Backend,
    pairs: TokenizedPairs,
    options: ExportedOptions,
    advance: Callable[[int], object],
) -> NDArray[np.float32]:
    budget = _even_budget(
        pairs.lengths, options.token_budget or backend.token_budget, backend.concurrency
    )
    batches = list(token_batches(pairs.lengths, budget, options.max_pairs))
    rows: list[NDArray[np.float32]] = []

    def run(index: Ids) -> NDArray[np.float32]:
        return backend(
            padded_features(backend.inputs, pairs, index, options.pad_id, backend.width_step)
        )

    workers = min(backend.concurrency, len(batches))
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as threads:
        results = map(run, batches) if threads is None else threads.map(run, batches)
        for index, logits in zip(batches, results, strict=True):
            rows.append(logits)
            advance(len(index))
    result = np.empty((len(pairs), rows[0].shape[1]), np.float32)
    result[np.concatenate(batches)] = np.concatenate(rows)
    return result


def _even_budget(lengths: Ids, most: int, concurrency: int) -> int:
    """A budget at or below ``most`` that gives all cores about the same number of full batches."""
    total = int(lengths.sum())
    rounds = -(-total // (most * concurrency))
    share = total / (rounds * concurrency)
    # Batches end before the pair that would not fit, on average half a pair early.
    return min(most, int(share + lengths.mean() / 2) + 1)


def padded_features(
    inputs: frozenset[str], pairs: TokenizedPairs, index: Ids, pad_id: int, width_step: int = 1
) -> dict[str, Ids]:
    """Padded ``(B, L)`` int64 tensors of the chosen pairs, by name.

    Args:
        inputs: Names of the tensors the model takes.
        pairs: Tokenised pairs.
        index: Which of them.
        pad_id: Token id of padding.
        width_step: L is a multiple of this.
    """
    lengths = pairs.lengths[index]
    width = -(-int(lengths.max()) // width_step) * width_step
    real = np.arange(width) < lengths[:, None]
    ids = np.full((len(index), width), pad_id, np.int64)
    ids[real] = np.concatenate([pairs.input_ids[i] for i in index])
    features = {"input_ids": ids, "attention_mask": real.astype(np.int64)}
    if "token_type_ids" in inputs:
        types = np.zeros_like(ids)
        if pairs.token_type_ids is not None:
            types[real] = np.concatenate([pairs.token_type_ids[i] for i in index])
        features["token_type_ids"] = types
    return features
