"""Files and folders that are either written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from rankwright.errors import InputError, RankwrightError, SaveError

__all__ = ["atomic_folder", "atomic_write"]


@overload
def atomic_write(
    path: str | Path, mode: Literal["w"] = "w"
) -> contextlib.AbstractContextManager[IO[str]]: ...


@overload
def atomic_write(
    path: str | Path, mode: Literal["wb"]
) -> contextlib.AbstractContextManager[IO[bytes]]: ...


def atomic_write(path: str | Path, mode: str = "w") -> contextlib.AbstractContextManager[IO[Any]]:
    """Opens a temporary file beside ``path`` that takes its place when the block ends well.

    Text is UTF-8 with ``\\n`` line ends. Missing parent folders are made. A symbolic link is
    written through, and the permissions of a file that is replaced are kept.

    Args:
        path: The file to write.
        mode: ``"w"`` for text (default) or ``"wb"`` for bytes.

    Raises:
        InputError: Another mode.
        SaveError: The operating system refused (disk full, no permission). What stood at
            ``path`` before is untouched and the temporary file is gone.
    """
    if mode not in ("w", "wb"):
        raise InputError(f"atomic_write: mode must be 'w' or 'wb', not {mode!r}.")
    return _atomic_write(Path(path), mode)


@contextmanager
def _atomic_write(path: Path, mode: str) -> Iterator[IO[Any]]:
    target = Path(os.path.realpath(path))
    temporary = _temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "x" + mode[1:], **_text_options(mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except RankwrightError:
        raise  # the block's own message; some of ours are OSErrors too
    except OSError as error:
        raise _save_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # already moved, or never made
            temporary.unlink()
    _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Gives an empty folder beside ``path`` whose files appear in ``path`` when the block ends.

    A new folder appears with one rename. In a folder that exists already, each written file
    replaces its namesake only after all of them are complete on disk; files that the block did
    not write are kept. If one replacement fails, the ones before it are taken back.

    Args:
        path: The folder to write; parents are made.

    Yields:
        The temporary folder. Write into it with any tool; sub-folders are allowed.

    Raises:
        SaveError: The operating system refused; what stood at ``path`` before is untouched.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise SaveError(
            f"{path} is a file, not a folder. Nothing was written; name another folder."
        )
    temporary = _temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        # What the umask leaves: a folder made here shows it. Some libraries write files that only
        # their owner may read, whatever the umask says.
        readable = temporary.stat().st_mode & 0o666
        for file in _files_under(temporary):
            (temporary / file).chmod((temporary / file).stat().st_mode & 0o777 | readable)
            _sync_file(temporary / file)
        if target.exists():
            _move_files(temporary, target)
        else:
            os.replace(temporary, target)
    except RankwrightError:
        raise
    except OSError as error:
        raise _save_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(target.parent)


def _move_files(source: Path, target: Path) -> None:
    """Moves every file over; on failure puts back what was there."""
    backups = _temporary_name(target)
    backups.mkdir()
    moved: list[Path] = []
    made: list[Path] = []
    try:
        for file in _files_under(source):
            made += _make_parents(target, file)
            if (target / file).is_file():
                (backups / file).parent.mkdir(parents=True, exist_ok=True)
                _keep_copy(target / file, backups / file)
            os.replace(source / file, target / file)
            moved.append(file)
    except BaseException:  # also Ctrl-C: the folder must be as it was
        for file in reversed(moved):
            if (backups / file).exists():
                os.replace(backups / file, target / file)
            else:
                (target / file).unlink()
        for folder in reversed(made):
            folder.rmdir()
        raise
    finally:
        shutil.rmtree(backups, ignore_errors=True)
    for folder in {(target / file).parent for file in moved}:
        _sync_folder(folder)


def _make_parents(target: Path, file: Path) -> list[Path]:
    """Makes the folders of ``target / file`` that are missing and returns them, outermost first."""
    made = []
    for folder in reversed((target / file).parents):
        if target in folder.parents and not folder.exists():
            folder.mkdir()
            made.append(folder)
    return made


def _keep_copy(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError:  # a file system without hard links
        shutil.copy2(file, copy)


def _files_under(folder: Path) -> list[Path]:
    return sorted(
        (Path(root) / name).relative_to(folder)
        for root, _, names in os.walk(folder)
        for name in names
    )


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name[:80]}.{uuid.uuid4().hex[:12]}.tmp")


def _text_options(mode: str) -> dict[str, Any]:
    return {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}


def _save_error(path: str | Path, cause: OSError) -> SaveError:
    error = SaveError(
        f"{path} was not saved: {cause.strerror or cause}. What stood there before is untouched. "
        "Free disk space, check the permissions, or name another place."
    )
    error.errno = cause.errno
    return error


def _sync_file(path: Path) -> None:
    # opened for writing because some systems refuse to flush a read-only handle
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # makes the rename itself durable; some systems cannot open or flush a folder, and then the
    # rename is as durable as they make it
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
