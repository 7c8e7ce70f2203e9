"""Starts the server: one process, or several that share a port."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn

from rankwright.errors import InputError
from rankwright.serving.app import create_app
from rankwright.serving.model import serve_torch
from rankwright.serving.settings import ServerSettings

__all__ = ["ServeOptions", "run", "worker"]

VARIABLE = "RANKWRIGHT_SERVE"
"""Environment variable through which worker processes learn what to serve."""


@dataclass(frozen=True)
class ServeOptions:
    """What is served where.

    Attributes:
        model: Folder or hub name.
        host: Address to listen on. The default is reached from this machine only.
        port: TCP port.
        workers: Processes; each loads the model.
        backend: ``"torch"``.
        device: Where the model runs; None for the best there is.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        log_level: uvicorn's.
    """

    model: str
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    backend: str = "torch"
    device: str | None = None
    precision: str = "auto"
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
        uvicorn.run(_application(options, settings), **common)
        return
    os.environ[VARIABLE] = json.dumps({"options": asdict(options), "settings": settings.to_json()})
    uvicorn.run("rankwright.serving.run:worker", factory=True, workers=options.workers, **common)


def worker() -> Any:
    """The application of one worker process, from what `run` left in the environment."""
    told = json.loads(os.environ[VARIABLE])
    return _application(ServeOptions(**told["options"]), ServerSettings.from_json(told["settings"]))


def _application(options: ServeOptions, settings: ServerSettings) -> Any:
    model = serve_torch(options.model, options.device, options.precision)
    return create_app(model, settings)
