"""A folder or hub name to a model: an export where there is a good one, else the weights."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankwright.errors import InputError, MissingDependencyError, ModelError
from rankwright.model.exports import BACKENDS, EXPORTS_FILE, PRECISIONS, read_exports
from rankwright.model.folder import ModelFolder
from rankwright.model.hub import full_name
from rankwright.model.layouts import read_layout
from rankwright.model.runtime import find_exports, installed_backends
from rankwright.model.weights import find_weights

__all__ = ["Loading"]


@dataclass(frozen=True)
class Loading:
    """How a model that is given by its folder or name is loaded.

    Attributes:
        backend: ``"torch"`` loads a `CrossEncoder`; ``"onnx"``, ``"openvino"`` and ``"native"`` a
            `Reranker`. ``"auto"`` takes a `Reranker` where ``rankwright export`` left a model
            that can run here, else a `CrossEncoder`.
        device: For a `CrossEncoder`; another device than the CPU always means one. None for the
            best there is.
        options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``. One that
            only a `CrossEncoder` takes, such as ``trust_remote_code``, means one.

    Raises:
        InputError: Another backend, or one that does not run on the device.
    """

    backend: str = "auto"
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ("auto", "torch", *BACKENDS)
        if self.backend not in known:
            raise InputError(f"backend={self.backend!r} is not known; choose one of {known}.")
        if self.backend in BACKENDS and self._elsewhere:
            raise InputError(
                f"backend={self.backend!r} runs on the CPU, but device={self.device!r}. Leave one "
                "of them out."
            )

    @property
    def _elsewhere(self) -> bool:
        return self.device is not None and self.device != "cpu"

    def load(self, name_or_path: str) -> Any:
        """The model.

        Raises:
            ModelNotFoundError, ModelError, ConfigError: A folder or name that cannot be used.
            MissingDependencyError: Neither PyTorch nor the runtime of an export is installed.
        """
        if self.backend in BACKENDS:
            from rankwright.model import Reranker

            return Reranker(name_or_path, backend=self.backend, **self.options)
        if self.backend == "auto" and self._suits_exports() and self._has_export(name_or_path):
            return self._reranker(name_or_path)
        try:
            from rankwright.model import CrossEncoder
        except ModuleNotFoundError as error:
            raise MissingDependencyError.for_package(
                error.name or "torch", "train", f"Loading {name_or_path!r}, which has no export,"
            ) from error
        return CrossEncoder(name_or_path, device=self.device, **self.options)

    def _reranker(self, name_or_path: str) -> Any:
        from rankwright.model import Reranker

        try:
            return Reranker(name_or_path, **self.options)
        except ModelError as error:
            hint = "Or pass backend='torch' to score with its weights."
            raise type(error)(f"{error} {hint}") from error

    def _suits_exports(self) -> bool:
        from rankwright.model import Reranker

        if self._elsewhere or self.options.get("precision", "fp32") not in PRECISIONS:
            return False
        return set(self.options) <= set(inspect.signature(Reranker).parameters)

    def _has_export(self, name_or_path: str) -> bool:
        """Whether an exported model is the one to take."""
        path = Path(name_or_path).expanduser()
        if not path.is_dir():
            return self._hub_has_export(name_or_path)
        folder = ModelFolder(path)
        found = find_exports(folder, read_exports(folder))
        ours = [entry for entry in found if entry.fingerprint]
        if any(entry.backend in installed_backends() for entry in ours):
            return True
        # Files of other programs carry no proof that their scores are right: weights come first.
        return bool(found) and not (_has_torch() and _has_weights(folder))

    def _hub_has_export(self, name: str) -> bool:
        """Whether ``rankwright export`` made what the hub has. It asks for one small file: most
        repositories hold exports for many machines, too large to fetch on a guess."""
        if "\\" in name or name.count("/") > 1 or name.startswith((".", "~", "/")):
            return False  # a folder that is not there; loading it will say so
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

        names = ("revision", "token", "local_files_only")
        asked = {key: self.options[key] for key in names if key in self.options}
        folder = self.options.get("cache_folder")
        try:
            file = hf_hub_download(full_name(name), EXPORTS_FILE, cache_dir=folder, **asked)
        except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
            # Not there, or the hub cannot be asked: loading the weights tells which.
            return False
        entries = read_exports(ModelFolder(Path(file).parent)).entries
        can_run = any(entry.backend in installed_backends() for entry in entries)
        return can_run or not _has_torch()


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _has_weights(folder: ModelFolder) -> bool:
    try:
        inner = read_layout(folder.path, need_weights=False).folder
        return bool(find_weights(ModelFolder(inner)))
    except ModelError:
        return False
