"""Starts the server: one process, or several that share a port."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn

from rankwright.errors import InputError
from rankwright.serving.app import create_app
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
        workers: Processes; each loads the model.
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
        "access_log": False,  # the server writes its own, without texts
        "timeout_graceful_shutdown": int(settings.drain_seconds),
        "timeout_keep_alive": 30,
        "h11_max_incomplete_event_size": 64 * 1024,
    }
    if options.workers == 1:
        with _logged():
            uvicorn.run(_application(options, settings), **common)
        return
    os.environ[VARIABLE] = json.dumps({"options": asdict(options), "settings": settings.to_json()})
    uvicorn.run("rankwright.serving.run:worker", factory=True, workers=options.workers, **common)


def worker() -> Any:
    """The application of one worker process, from what `run` left in the environment."""
    told = json.loads(os.environ[VARIABLE])
    _logged().__enter__()  # for as long as this process lives
    choice = ModelChoice(**told["options"].pop("model"))
    options = ServeOptions(choice, **told["options"])
    return _application(options, ServerSettings.from_json(told["settings"]))


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


def _application(options: ServeOptions, settings: ServerSettings) -> Any:
    return create_app(open_model(options.model), settings)
