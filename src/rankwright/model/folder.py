"""A model folder as untrusted data: JSON with good messages, and paths that stay inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rankwright.errors import ConfigError, ModelNotFoundError, UnsafeModelError

__all__ = ["ModelFolder"]


@dataclass(frozen=True)
class ModelFolder:
    """A local folder that holds a model.

    Attributes:
        path: The folder.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ModelNotFoundError(f"{self.path} is not a folder; expected a model folder.")

    @cached_property
    def boundary(self) -> Path:
        """The folder whose contents belong to this model, with links resolved.

        In the hub's cache a snapshot is made of links to ``../../blobs``, so there the
        repository's cache folder is the boundary.
        """
        resolved = self.path.resolve()
        repository = resolved.parent.parent
        if resolved.parent.name == "snapshots" and (repository / "blobs").is_dir():
            return repository
        return resolved

    def inside(self, name: str, named_in: str) -> Path:
        """The path of ``name``, which some JSON file of the folder names.

        Raises:
            UnsafeModelError: The name is absolute, climbs out with ``..``, or is a link that
                leads outside.
        """
        parts = PurePosixPath(name).parts + PureWindowsPath(name).parts
        absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor != ""
        path = self.path / name
        if absolute or ".." in parts or not path.resolve().is_relative_to(self.boundary):
            raise UnsafeModelError(
                f"{self.path / named_in} names the path {name!r}, which leads outside the model "
                "folder. Only paths inside it are read; do not use this folder unless you know "
                "where it came from, and then correct the path."
            )
        return path

    def sub(self, name: str, named_in: str) -> ModelFolder:
        """A folder inside this one; this one itself for an empty name."""
        return self if name in ("", ".") else ModelFolder(self.inside(name, named_in))

    def has(self, name: str) -> bool:
        """Whether the folder has this file."""
        return (self.path / name).is_file()

    def json(self, name: str) -> Any:
        """The contents of a JSON file; None if the folder has no such file.

        Raises:
            ConfigError: It cannot be parsed.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"{path}, line {error.lineno}, column {error.colno}: not valid JSON "
                f"({error.msg}). Restore the file from where the model came from."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text ({error.reason}).") from error

    def json_object(self, name: str) -> Mapping[str, Any]:
        """A JSON file that must hold an object; empty if the folder has no such file.

        Raises:
            ConfigError: It cannot be parsed, or holds something else.
        """
        value = self.json(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ConfigError(
                f"{self.path / name}: holds {type(value).__name__}; expected a JSON object."
            )
        return value
