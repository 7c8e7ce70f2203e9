"""Checkpoints that either are complete or do not count.

Training can be killed at any moment, also while it writes. So the last thing written into a
checkpoint is a marker that lists every file with its size; a folder without a marker, or whose
files do not match it, is partial and is passed over.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.errors import TrainingError

__all__ = [
    "MARKER",
    "Checkpoint",
    "complete_checkpoints",
    "discard",
    "find_checkpoint",
    "mark_complete",
    "problem_with",
    "require_complete",
    "rotate",
    "set_aside",
    "starting_point",
]

logger = logging.getLogger(__name__)

MARKER = "checkpoint_complete.json"
"""Name of the marker file."""

_NAME = re.compile(r"checkpoint-(\d+)")
_ASIDE = "replaced-"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        path: Its folder.
        step: Optimiser steps done.
        saved_at: When it was completed, in seconds since 1970.
    """

    path: Path
    step: int
    saved_at: float


def mark_complete(path: Path, step: int) -> None:
    """Declares that everything in ``path`` has been written.

    Every file is on the disk before the marker is, so the marker holds even after a power cut.
    """
    sizes = {}
    for file in _files(path):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        sizes[file.relative_to(path).as_posix()] = file.stat().st_size
    content = json.dumps({"step": step, "saved_at": time.time(), "files": sizes}, indent=1)
    temporary = path / f".{MARKER}.tmp"
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path / MARKER)
    _sync_folder(path)
    _sync_folder(path.parent)


def problem_with(path: Path) -> str | None:
    """What is missing from a checkpoint, in words; None if it is complete."""
    try:
        marker = _read_marker(path)
    except FileNotFoundError:
        return f"{MARKER} is missing, so saving was interrupted or another program wrote it"
    except (ValueError, KeyError, TypeError) as error:
        return f"{MARKER} cannot be read ({error})"
    for name, size in marker["files"].items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
    return None


def complete_checkpoints(output_dir: Path) -> list[Checkpoint]:
    """The complete checkpoints in a folder, oldest first. Partial ones are named in the log."""
    found = []
    if output_dir.is_dir():
        for path in sorted(output_dir.iterdir()):
            if not _NAME.fullmatch(path.name) or not path.is_dir():
                continue
            problem = problem_with(path)
            if problem is not None:
                logger.warning("Passing over the partial checkpoint %s: %s.", path, problem)
                continue
            marker = _read_marker(path)
            found.append(Checkpoint(path, int(marker["step"]), float(marker["saved_at"])))
    return sorted(found, key=lambda c: (c.saved_at, c.step))


def find_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest complete checkpoint in a folder, or None.

    Newest by the time it was completed, not by its step: an earlier, longer run into the same
    folder does not win over the run at hand.
    """
    folder = Path(output_dir)
    _bring_back(folder)
    checkpoints = complete_checkpoints(folder)
    return checkpoints[-1].path if checkpoints else None


def require_complete(path: str | Path) -> Path:
    """``path``, if it is a complete checkpoint.

    Raises:
        TrainingError: It is not there, or not complete.
    """
    folder = Path(path)
    problem = problem_with(folder) if folder.is_dir() else "there is no such folder"
    if problem is not None:
        raise TrainingError(
            f"cannot resume from {folder}: {problem}. Pass resume_from_checkpoint=True to use the "
            "newest complete checkpoint of output_dir, or name another folder."
        )
    return folder


def starting_point(resume: str | Path | bool | None, output_dir: str | Path) -> str | None:
    """The checkpoint to start from, or None to start from the beginning.

    Args:
        resume: True for the newest complete checkpoint, the folder of one, or False or None.
        output_dir: Where to look for it.

    Raises:
        TrainingError: There is no complete checkpoint, or the one named is not complete.
    """
    if resume is None or resume is False:
        return None
    if resume is not True:
        return str(_resumable(require_complete(resume)))
    newest = find_checkpoint(output_dir)
    if newest is None:
        raise TrainingError(
            f"there is no complete checkpoint in {output_dir} to resume from. Start with "
            "resume_from_checkpoint=False, or check output_dir."
        )
    return str(_resumable(newest))


def _resumable(path: Path) -> Path:
    if not any(path.glob("optimizer.*")):
        raise TrainingError(
            f"cannot resume from {path}: it holds the model only, because it was saved with "
            "save_only_model=True. To train on from these weights, start anew with "
            f"CrossEncoder({str(path)!r})."
        )
    return path


def set_aside(path: Path) -> Path | None:
    """Makes room for a checkpoint of the same step.

    A partial folder is removed. A complete one is renamed and returned, so that it is there
    until the new one is complete.
    """
    if not path.exists():
        return None
    if problem_with(path) is not None:
        shutil.rmtree(path)
        return None
    aside = path.with_name(f"{_ASIDE}{path.name}")
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)
    return aside


def _bring_back(folder: Path) -> None:
    """Undoes `set_aside` where the new checkpoint was never completed."""
    for aside in folder.glob(f"{_ASIDE}checkpoint-*"):
        path = aside.with_name(aside.name[len(_ASIDE) :])
        if problem_with(aside) is None and problem_with(path) is not None:
            if path.exists():
                shutil.rmtree(path)
            aside.rename(path)


def discard(path: Path) -> None:
    """Removes a checkpoint; its marker first, so that half of it never looks complete."""
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path)


def rotate(output_dir: Path, keep: int | None, best: str | None) -> None:
    """Removes the oldest complete checkpoints until ``keep`` are left.

    The newest and the best one always stay. Partial ones are not counted, so they can never
    push out a complete one.

    Args:
        output_dir: Folder of the checkpoints.
        keep: How many stay; None or 0 for all.
        best: Path of the best checkpoint so far, if there is one.
    """
    if not keep or keep < 0:
        return
    checkpoints = complete_checkpoints(output_dir)
    protected = {checkpoints[-1].path.resolve()} if checkpoints else set()
    if best is not None and any(c.path.resolve() == Path(best).resolve() for c in checkpoints):
        protected.add(Path(best).resolve())
    surplus = len(checkpoints) - max(keep, len(protected))
    for checkpoint in checkpoints:
        if surplus <= 0:
            return
        if checkpoint.path.resolve() not in protected:
            logger.info("Removing %s because of save_total_limit=%d.", checkpoint.path, keep)
            discard(checkpoint.path)
            surplus -= 1


def _read_marker(path: Path) -> dict[str, Any]:
    marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
    if not isinstance(marker["files"], dict):
        raise ValueError("its list of files is malformed")
    float(marker["saved_at"]), int(marker["step"])
    return dict(marker)


def _files(path: Path) -> Iterator[Path]:
    return (p for p in sorted(path.rglob("*")) if p.is_file() and p.name != MARKER)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows has no handles on folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
