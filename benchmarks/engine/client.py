"""Starting workers, asking them, and the environment of the peer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Client", "WorkerError", "alternate", "environment", "installed", "peer_python"]

ROOT = Path(__file__).resolve().parent.parent.parent
PEER = ROOT / ".venv-peer"
REQUIREMENTS = ("torch==2.13.0", "sentence-transformers==6.2.0", "datasets", "accelerate")


class WorkerError(RuntimeError):
    """A worker could not do what it was asked to, or is gone."""


class Client:
    """One worker process.

    Args:
        library: ``"ours"`` or ``"peer"``.
        python: The Python of its environment.
        log: File for what it prints.
        module: What it runs; None for the engine benchmark's worker of the library.
    """

    def __init__(
        self, library: str, python: Path | str, log: Path, module: str | None = None
    ) -> None:
        self.library = library
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), "-m", module or f"benchmarks.engine.worker_{library}"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """One command and its answer.

        Raises:
            WorkerError: It failed, or the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            reason = "killed, probably out of memory" if code == -9 else f"exit code {code}"
            raise WorkerError(f"the worker of {self.library} ended: {reason}; see {self._log.name}")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise WorkerError(f"{self.library}, {do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


def environment() -> dict[str, str]:
    """The variables that workers run under."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(cores),
        # The process that waits must not keep the cores busy.
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def alternate(
    ours: Callable[[int], float], peer: Callable[[int], float], repeats: int
) -> tuple[list[float], list[float]]:
    """Measures in turn, so that a machine that slows down slows both; never both at once.

    Args:
        ours: Measures once; gets the number of the repeat.
        peer: The same for the other side.
        repeats: How often each.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        found[0].append(ours(repeat))
        found[1].append(peer(repeat))
    return found


def peer_python(folder: Path = PEER) -> Path:
    """The Python of the peer's own environment, which is made on first use.

    Raises:
        subprocess.CalledProcessError: The installation failed.
    """
    pinned = ("-c", str(ROOT / "constraints.txt"))
    return installed(folder, "Sentence Transformers", REQUIREMENTS, pinned)


def installed(
    folder: Path,
    title: str,
    requirements: Sequence[str],
    options: Sequence[str] = (),
    unwanted: Sequence[str] = (),
) -> Path:
    """The Python of a virtual environment, which is made on first use.

    Args:
        folder: Where it is.
        title: What is installed, for people.
        requirements: What to install.
        options: More arguments of ``pip install``.
        unwanted: Packages to remove again that come along.

    Raises:
        subprocess.CalledProcessError: The installation failed.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / ".ready"
    wanted = "\n".join(requirements)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"Installing {title} into {folder.name} (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *options, *requirements], check=True)
    if unwanted:
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", *unwanted], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python
