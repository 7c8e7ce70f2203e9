"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from rankwright.errors import InputError

__all__ = ["refuse_existing"]


def refuse_existing(path: str | Path, overwrite: bool, flag: str = "--overwrite") -> Path:
    """Returns ``path`` if it may be written; called before the work, not after it.

    Raises:
        InputError: Something stands there and may not be replaced, or it is a folder.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already. Name another file, or replace it with {flag}.")
    return path
