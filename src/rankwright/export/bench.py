"""`bench_model`: speed, latency, start-up, size and memory of every backend of a folder."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwright.engine.cpu import machine_name
from rankwright.errors import DataNotFoundError, InputError, SaveError
from rankwright.export.naming import model_size
from rankwright.export.verify import has_weights
from rankwright.model.exports import read_exports, write_exports
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import read_golden
from rankwright.model.hub import HubOptions, local_folder
from rankwright.model.layouts import read_layout
from rankwright.model.runtime import find_exports, installed_backends, is_installed
from rankwright.model.weights import find_weights

__all__ = ["Bench", "BenchOptions", "Timing", "bench_model"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        seconds: At least this long for throughput, and again for latency, per backend.
        threads: Cores to use; None for all.
        record: Whether speeds are written to ``exports.json``, for ``backend="auto"``.
    """

    seconds: float = 3.0
    threads: int | None = None
    record: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 3600:
            raise InputError(f"seconds={self.seconds}; expected more than 0, at most 3600.")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads={self.threads}; expected at least 1.")


@dataclass(frozen=True)
class Timing:
    """One backend and precision.

    Attributes:
        backend: ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: As what it was exported; for torch the compute type.
        file: Path inside the folder.
        size: Bytes of the model's files.
        verified: Whether its scores were found to agree; torch is the reference.
        pairs_per_second: Median over rounds of all golden pairs in one call.
        p50_ms: Median time of ranking one query's documents.
        p95_ms: 95th percentile of the same.
        start_seconds: From starting Python to the first query's scores.
        peak_memory: Bytes; None where the system does not tell.
        computes: The number format of its arithmetic here.
        error: Why it could not be measured; then all numbers are None.
    """

    backend: str
    precision: str
    file: str
    size: int
    verified: bool = False
    pairs_per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    start_seconds: float | None = None
    peak_memory: int | None = None
    computes: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Bench:
    """What `bench_model` found.

    Attributes:
        machine: Processor and cores.
        threads: Cores used; None for all.
        pairs: Number of golden pairs.
        documents: Mean number of documents per query, which latency depends on.
        rows: One per backend and precision, fastest first.
    """

    machine: str
    threads: int | None
    pairs: int
    documents: float
    rows: tuple[Timing, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.__dict__, "rows": [dict(row.__dict__) for row in self.rows]}


def bench_model(model: str | Path, options: BenchOptions | None = None) -> Bench:
    """Measures each backend in a process of its own, on the golden pairs.

    Args:
        model: Folder or hub name.
        options: How.

    Raises:
        DataNotFoundError: No golden pairs, or nothing that could run here.
        ModelError, ConfigError, ModelNotFoundError: The folder cannot be used.
    """
    options = options or BenchOptions()
    path = local_folder(model, HubOptions(exports=True))
    golden = read_golden(ModelFolder(path))
    todo = _todo(path)
    if not todo:
        raise DataNotFoundError(
            f"{path} has nothing that can run here: no exported model for {installed_backends()}, "
            "and no weights for PyTorch. Make an export: rankwright export MODEL --backend onnx"
        )
    rows = [_measured(path, row, options) for row in todo]
    rows.sort(key=lambda row: -(row.pairs_per_second or 0.0))
    if options.record and options.threads is None:
        _record(path, rows)
    count = len(golden.pairs)
    documents = round(count / len(golden.queries), 1)
    return Bench(machine_name(), options.threads, count, documents, tuple(rows))


def _todo(path: Path) -> list[Timing]:
    layout = read_layout(path, need_weights=False)
    folder = ModelFolder(path)
    installed = installed_backends()
    rows = [
        Timing(e.backend, e.precision, e.file, model_size(path / e.file), bool(e.verified))
        for e in find_exports(folder, read_exports(folder))
        if e.backend in installed
    ]
    if has_weights(layout) and is_installed("torch"):
        from rankwright.engine.precision import precision_name

        files = find_weights(ModelFolder(layout.folder))
        size = sum(file.stat().st_size for file in files)
        for precision in dict.fromkeys(("float32", precision_name("auto"))):
            rows.append(Timing("torch", precision, files[0].name, size, verified=True))
    return rows


def _measured(path: Path, row: Timing, options: BenchOptions) -> Timing:
    job = {
        "folder": str(path),
        "backend": row.backend,
        "precision": row.precision,
        "file": row.file,
        "threads": options.threads,
        "seconds": options.seconds,
    }
    logger.info("Measuring %s %s.", row.backend, row.precision)
    command = [sys.executable, "-m", "rankwright.export.bench_worker"]
    done = subprocess.run(
        [*command, json.dumps({**job, "started": time.time()})],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        found = {"error": f"the process ended with code {done.returncode}: {reason}"}
    return replace(row, **found)


def _record(path: Path, rows: list[Timing]) -> None:
    exports = read_exports(ModelFolder(path))
    speeds = {row.file: row.pairs_per_second for row in rows if row.pairs_per_second}
    changed = exports
    for entry in exports.entries:
        if entry.file in speeds:
            speed = {**entry.speed, machine_name(): round(speeds[entry.file], 2)}
            changed = changed.with_entry(replace(entry, speed=speed))
    if changed != exports:
        try:
            write_exports(path, changed)
        except SaveError as error:
            logger.warning("The speeds could not be recorded: %s", error)
