"""Several processes share the scoring of one evaluation.

Scoring is all that takes long in an evaluation, and all that is shared: every process scores its
share of the pairs, the scores are put together again, and what follows is the same everywhere.
There are two ways into it, both for processes joined by ``torch.distributed``:

- `evaluate_in_first`: one process runs the evaluators, whatever they are, the others only score
  for it. The trainer evaluates like this.
- Every process calls an evaluator by itself. They are then brought together (`_Meeting`), if all
  of them come with the same pairs; if not, each scores on its own, as in a program that evaluates
  in one process only.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankwright.errors import InputError, RankwrightError

__all__ = ["PATIENCE", "evaluate_in_first", "is_first_process", "predict_shared"]

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds to wait for the other processes to come to the same evaluation. Who waits in vain goes
on alone, with a warning, and does not wait again."""

_T = TypeVar("_T")
_Pairs = Sequence[tuple[str, str]]
_Scores = npt.NDArray[Any]

_led: ContextVar[Any] = ContextVar("rankwright_led_model", default=None)


def is_first_process() -> bool:
    """Whether this is the only process, or the first one of ``torch.distributed``."""
    dist = _joined()
    return dist is None or dist.get_rank() == 0


def evaluate_in_first(model: Any, evaluate: Callable[[], _T]) -> _T:
    """Runs ``evaluate`` in the first process, and the scoring within it in all.

    All processes must call it. Anything may happen in ``evaluate``; scoring of ``model`` through
    this package's evaluators is shared, everything else happens in the first process only.

    Args:
        model: The model to judge; the same weights in all processes.
        evaluate: Makes a result that can be sent to the other processes.

    Returns:
        The result, in every process.

    Raises:
        RankwrightError: In the others, if the evaluation failed in the first process; there, the
            original error.
    """
    dist = _joined()
    if dist is None:
        return evaluate()
    if dist.get_rank() > 0:
        return _serve(dist, model)  # type: ignore[no-any-return]
    token = _led.set(model)
    try:
        result = evaluate()
    except BaseException as error:  # the others wait for a result, whatever happened
        _tell(dist, ("failed", f"{type(error).__name__}: {error}"))
        raise
    finally:
        _led.reset(token)
    _tell(dist, ("done", result))
    return result


def predict_shared(model: Any, pairs: _Pairs, options: Mapping[str, Any]) -> _Scores:
    """``model.predict(pairs, **options)`` as an array, computed by all processes if they are here.

    Raises:
        InputError: The model returned another number of scores.
        RankwrightError: It failed in another process.
    """
    dist = _joined()
    if dist is None:
        return _predict(model, pairs, options)
    if _led.get() is model:
        _tell(dist, ("score", (pairs, options)))
    elif _led.get() is not None or not _meeting(dist).together(_fingerprint(model, pairs, options)):
        return _predict(model, pairs, options)
    return _score_share(dist, model, pairs, options)


def _predict(model: Any, pairs: _Pairs, options: Mapping[str, Any]) -> _Scores:
    """``model.predict`` as an array, one row per pair.

    Raises:
        InputError: The model returned another number of scores.
    """
    scores = np.asarray(model.predict(list(pairs), **options))
    if scores.ndim not in (1, 2) or len(scores) != len(pairs):
        raise InputError(
            f"The model gave scores of shape {scores.shape} for {len(pairs)} pairs; expected "
            f"({len(pairs)},) or ({len(pairs)}, labels)."
        )
    return scores


def _joined() -> Any:
    """``torch.distributed`` if there are several processes; never loads PyTorch itself."""
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return None
    return dist if dist.get_world_size() > 1 else None


def _tell(dist: Any, message: tuple[str, Any] | None) -> Any:
    """Sends the first process's message to all."""
    parcel = [message]
    dist.broadcast_object_list(parcel, src=0)
    return parcel[0]


def _serve(dist: Any, model: Any) -> Any:
    """Scores for the first process until that is done."""
    while True:
        what, content = _tell(dist, None)
        if what == "done":
            return content
        if what == "failed":
            raise RankwrightError(f"The evaluation failed in the first process: {content}")
        pairs, options = content
        _score_share(dist, model, pairs, {**options, "show_progress_bar": False})


def _score_share(dist: Any, model: Any, pairs: _Pairs, options: Mapping[str, Any]) -> _Scores:
    """Scores one's share of the pairs and returns all scores, in the order of the pairs.

    Pairs are dealt out by length, so that all shares take about equally long.
    """
    count, rank = dist.get_world_size(), dist.get_rank()
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    shares = [order[i::count] for i in range(count)]
    own: _Scores | None = None
    failure: Exception | None = None
    try:
        if shares[rank]:
            own = _predict(model, [pairs[i] for i in shares[rank]], options)
    except Exception as error:  # the others wait for an answer, whatever it was
        failure = error
    answers: list[Any] = [None] * count
    told = None if failure is None else f"{type(failure).__name__}: {failure}"
    dist.all_gather_object(answers, (own, told))
    if failure is not None:
        raise failure
    for process, (_, told) in enumerate(answers):
        if told is not None:
            raise RankwrightError(f"Scoring failed in process {process}: {told}")
    parts = [(share, part) for share, (part, _) in zip(shares, answers, strict=True) if share]
    scores = np.empty((len(pairs), *parts[0][1].shape[1:]), dtype=parts[0][1].dtype)
    for share, part in parts:
        scores[share] = part
    return scores


def _fingerprint(model: Any, pairs: _Pairs, options: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(f"{type(model).__name__} {len(pairs)}".encode())
    digest.update(str(options.get("prompt_name")).encode())
    for pair in pairs:
        for text in pair:
            digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@dataclass
class _Meeting:
    """Finds out whether all processes have come to the same evaluation.

    Attributes:
        dist: ``torch.distributed``.
        group: Its process group, to notice a new one.
        number: How many evaluations there were.
        alone: Whether the others once did not come.
    """

    dist: Any
    group: Any
    number: int = 0
    alone: bool = False

    def together(self, fingerprint: str) -> bool:
        """Whether all processes are here with the same pairs; all get the same answer."""
        if self.alone:
            return False
        self.number += 1
        if not self._all_came():
            self.alone = True
            logger.warning(
                "Not all %d processes came to this evaluation within %g seconds, so each one "
                "scores by itself from now on. Call the evaluator in every process, and they "
                "share the work.",
                self.dist.get_world_size(),
                PATIENCE,
            )
            return False
        found: list[Any] = [None] * self.dist.get_world_size()
        self.dist.all_gather_object(found, fingerprint)
        return len(set(found)) == 1

    def _all_came(self) -> bool:
        # The answer is written once, by whoever is first to know it, so that nobody is left
        # waiting in a collective operation that another one has given up.
        general = self.dist.distributed_c10d._get_default_store()
        store = self.dist.PrefixStore(f"rankwright/evaluation/{self.number}", general)
        if store.add("came", 1) == self.dist.get_world_size():
            store.compare_set("answer", "", "together")
        try:
            store.wait(["answer"], timedelta(seconds=PATIENCE))
        except RuntimeError:  # the time is over
            store.compare_set("answer", "", "alone")
        return bool(store.get("answer") == b"together")


_latest: list[_Meeting] = []


def _meeting(dist: Any) -> _Meeting:
    group = dist.group.WORLD
    if not _latest or _latest[0].group is not group:
        _latest[:] = [_Meeting(dist, group)]
    return _latest[0]
