"""Scoring in several processes, each with a copy of the model on a device of its own."""

from __future__ import annotations

import copy
import logging
import math
import os
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import nn
from tqdm.auto import tqdm

from rankwright.errors import InputError, InputTypeError, WorkerError
from rankwright.model.pairs import Pair
from rankwright.model.scored import Computed

if TYPE_CHECKING:
    from rankwright.model.scoring import Scoring

__all__ = ["WorkerJob", "WorkerPool", "checked_chunk_size", "default_devices"]

CHUNKS_PER_WORKER = 8
"""Enough for a process that is done early to take over work from the others."""
SMALLEST_CHUNK, LARGEST_CHUNK = 32, 5000


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is told beside the pairs.

    Attributes:
        prompt: Text put before queries, or a template's instruction.
        max_length: Most tokens per pair.
        batch_size: Most pairs in one forward pass; None for no limit.
        precision: In which format products are computed.
        progress: Whether the parent shows a progress bar.
        chunk_size: Pairs handed over at a time; None picks.
    """

    prompt: str
    max_length: int
    batch_size: int | None
    precision: str
    progress: bool = False
    chunk_size: int | None = None


class WorkerPool:
    """Processes that compute logits with a copy of a model, as it is when they are started.

    A context manager: leaving it ends the processes, as `close` does. They also end with the
    process that started them. Threads may share a pool; their calls take turns.

    Processes are spawned, so a program that makes a pool must guard its main part with
    ``if __name__ == "__main__":``.

    Args:
        model: The model. It stays where it is; the processes get copies.
        devices: A device for each process; a device may be named more than once.

    Raises:
        InputError: No devices, or one that is not there.
        WorkerError: A process could not be started.
    """

    def __init__(self, model: Scoring, devices: Sequence[str | torch.device]) -> None:
        self.devices = _checked(devices)
        self._lock = threading.Lock()
        context: Any = multiprocessing.get_context("spawn")
        on_cpu = sum(device.type == "cpu" for device in self.devices)
        threads = max(1, torch.get_num_threads() // max(1, on_cpu))
        copied = _portable(model)
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        try:
            for device in self.devices:
                here, there = context.Pipe()
                given = threads if device.type == "cpu" else None
                process = context.Process(
                    target=_work, args=(there, copied, str(device), given), daemon=True
                )
                self._connections.append(here)
                self._processes.append(process)
                process.start()
                there.close()
            for connection in self._connections:
                self._receive(connection)
        except BaseException:  # whatever it is, no process may stay behind
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether the processes have been ended."""
        return not self._connections

    def compute(self, pairs: list[Pair], job: WorkerJob) -> Computed:
        """Logits of at least one pair, in the order of the input.

        Pairs are sorted by length and cut into chunks, longest first; each process gets the next
        chunk when it is done with one.

        Raises:
            InputError: The pool is closed.
            WorkerError: A process failed; the pool is closed then.
        """
        with self._lock:
            if self.closed:
                raise InputError("This pool was stopped; start another one.")
            try:
                return self._compute(pairs, job)
            # Answers may be on their way that a later call would take for its own.
            except BaseException:
                self.close()
                raise

    def _compute(self, pairs: list[Pair], job: WorkerJob) -> Computed:
        # Characters are a good measure of tokens here, and the workers are to do the tokenising.
        sizes = np.fromiter((len(q) + len(d) for q, d in pairs), np.int64, len(pairs))
        order = np.argsort(-sizes, kind="stable")
        step = job.chunk_size or _chunk_size(len(pairs), len(self.devices))
        waiting = [order[start : start + step] for start in range(0, len(order), step)][::-1]
        at_work: dict[Connection, Any] = {}
        parts: list[tuple[Any, Computed]] = []
        with tqdm(total=len(pairs), unit="pair", desc="Scoring", disable=not job.progress) as bar:
            for connection in self._connections:
                self._hand_out(connection, waiting, pairs, job, at_work)
            while at_work:
                for ready in wait(list(at_work)):
                    assert isinstance(ready, Connection)
                    computed = self._receive(ready)
                    rows = at_work.pop(ready)
                    parts.append((rows, computed))
                    bar.update(len(rows))
                    self._hand_out(ready, waiting, pairs, job, at_work)
        logits = np.empty((len(pairs), parts[0][1].logits.shape[1]), np.float32)
        lengths = np.empty(len(pairs), np.int64)
        for rows, computed in parts:
            logits[rows] = computed.logits
            lengths[rows] = computed.lengths
        return Computed(logits, lengths, sum(computed.truncated for _, computed in parts))

    def _hand_out(
        self,
        connection: Connection,
        waiting: list[Any],
        pairs: list[Pair],
        job: WorkerJob,
        at_work: dict[Connection, Any],
    ) -> None:
        if not waiting:
            return
        rows = waiting.pop()
        try:
            connection.send(([pairs[row] for row in rows], replace(job, progress=False)))
        except OSError as error:
            raise self._ended(connection) from error
        at_work[connection] = rows

    def _receive(self, connection: Connection) -> Any:
        try:
            kind, value = connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended(connection) from error
        if kind == "failed":
            device = self.devices[self._connections.index(connection)]
            raise WorkerError(f"the process on {device} failed:\n{value}")
        return value

    def _ended(self, connection: Connection) -> WorkerError:
        index = self._connections.index(connection)
        process = self._processes[index]
        process.join(timeout=5)
        return WorkerError(
            f"the process on {self.devices[index]} came to an end (exit code "
            f"{process.exitcode}). If it did so at once, the program may lack the guard "
            "'if __name__ == \"__main__\":' around its main part, which new processes need; if "
            "later, it may have run out of memory: see what it printed."
        )

    def close(self) -> None:
        """Ends the processes; closing twice does nothing."""
        for connection in self._connections:
            with suppress(OSError):
                connection.send(None)
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            if process.pid is None:  # was never started
                continue
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()
                process.join()
        self._connections, self._processes = [], []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def default_devices() -> list[str]:
    """All GPUs; without one, the CPU up to four times, once per thread that torch would use."""
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * min(4, torch.get_num_threads())


def checked_chunk_size(value: Any) -> int | None:
    """``value``, if it is None or a number of pairs.

    Raises:
        InputError: Neither.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"chunk_size={value!r}; expected at least 1, or None.")
    return value


def _chunk_size(pairs: int, workers: int) -> int:
    even = math.ceil(pairs / (workers * CHUNKS_PER_WORKER))
    return min(LARGEST_CHUNK, max(SMALLEST_CHUNK, even))


def _checked(devices: Sequence[str | torch.device]) -> list[torch.device]:
    if isinstance(devices, (str, torch.device)):
        raise InputTypeError(f"devices is {devices!r}; expected a list, with one per process.")
    if not devices:
        raise InputError("devices is empty; name one for each process.")
    try:
        found = [torch.device(device) for device in devices]
    except RuntimeError as error:
        raise InputError(f"devices={list(devices)!r}: {error}") from error
    count = torch.cuda.device_count()
    for device in found:
        if device.type == "cuda" and (device.index or 0) >= count:
            raise InputError(f"There is no {device} here: torch sees {count} GPUs.")
    return found


def _portable(model: Scoring) -> Scoring:
    """A copy in main memory that can be sent to a process, without gradients."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        held = parameter.detach().to("cpu", copy=True)
        memo[id(parameter)] = nn.Parameter(held, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("cpu", copy=True)
    copied = copy.deepcopy(model, memo)
    # Workers give logits. The activation may be any function, which could not be sent.
    copied.activation_fn = nn.Identity()
    return copied


def _work(connection: Connection, model: Scoring, device: str, threads: int | None) -> None:
    """What a worker process does: logits for chunks of pairs until it is told to stop."""
    logging.getLogger("rankwright").setLevel(logging.ERROR)  # the parent warns, once
    try:
        if threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(threads)  # of the tokenizer
            torch.set_num_threads(threads)
        model.to(device)
        connection.send(("ready", None))
        while (task := connection.recv()) is not None:
            connection.send(("done", model.compute_job(*task)))
    except (EOFError, KeyboardInterrupt):
        return  # the parent has ended
    except Exception:  # whatever it is, the parent waits for an answer, and raises it
        with suppress(OSError):
            connection.send(("failed", traceback.format_exc()))
