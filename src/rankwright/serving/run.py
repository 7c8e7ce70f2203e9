"""Starts the server: one process, or several that share a port."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from rankwright.engine.environment import variables
from rankwright.errors import InputError
from rankwright.serving.app import create_app
from rankwright.serving.connections import PatientConnection
from rankwright.serving.metrics import FOLDER_VARIABLE, Metrics
from rankwright.serving.model import ModelChoice, open_model
from rankwright.serving.settings import ServerSettings

__all__ = ["ServeOptions", "run", "worker"]

VARIABLE = "RANKWRIGHT_SERVE"
"""Environment variable through which worker processes learn what to serve."""


@dataclass(frozen=True)
class ServeOptions:
    """What is served where.

    Attributes:
        model: The model, and how it is run.
        host: Address to listen on. The default is reached from this machine only.
        port: TCP port.
        workers: Processes; each loads the model, and they share the processor's cores.
        log_level: uvicorn's.
    """

    model: ModelChoice
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    log_level: str = "info"


def run(options: ServeOptions, settings: ServerSettings) -> None:
    """Serves until told to stop; SIGTERM and SIGINT let running requests end first.

    Raises:
        InputError: Options that contradict each other.
    """
    if options.workers < 1:
        raise InputError(f"workers={options.workers}; expected at least 1.")
    common: dict[str, Any] = {
        "host": options.host,
        "port": options.port,
        "log_level": options.log_level,
        "http": PatientConnection,
        "access_log": False,  # the server writes its own, without texts
        "timeout_graceful_shutdown": int(settings.drain_seconds),
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 64 * 1024,
    }
    if options.workers == 1:
        with _logged():
            uvicorn.run(create_app(open_model(options.model), settings), **common)
        return
    with tempfile.TemporaryDirectory(prefix="rankwright-metrics-") as folder:
        told = {"options": asdict(_shared(options)), "settings": settings.to_json()}
        with variables({VARIABLE: json.dumps(told), FOLDER_VARIABLE: folder}):
            uvicorn.run(
                "rankwright.serving.run:worker", factory=True, workers=options.workers, **common
            )


def worker() -> Any:
    """The application of one worker process, from what `run` left in the environment."""
    told = json.loads(os.environ[VARIABLE])
    _logged().__enter__()  # for as long as this process lives
    settings = ServerSettings.from_json(told["settings"])
    metrics = Metrics(Path(os.environ[FOLDER_VARIABLE]))
    return create_app(open_model(ModelChoice(**told["options"]["model"])), settings, metrics)


def _shared(options: ServeOptions) -> ServeOptions:
    """Each worker with its share of the cores: more threads than cores only wait for each other."""
    if options.model.threads is not None or os.environ.get("OMP_NUM_THREADS"):
        return options
    threads = max(1, _cores() // options.workers)
    return replace(options, model=replace(options.model, threads=threads))


def _cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _logged() -> Iterator[None]:
    """Writes this library's log, with its line per request, to standard error."""
    log, handler = logging.getLogger("rankwright"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
