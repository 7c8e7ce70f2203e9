"""Finding and loading the exported models of a folder, without torch."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwright.engine.cpu import exact_int8, machine_name
from rankwright.engine.exported import Backend
from rankwright.engine.native.library import unavailable
from rankwright.engine.native_runtime import NativeBackend
from rankwright.engine.onnx_runtime import OnnxBackend
from rankwright.engine.openvino_runtime import OpenVinoBackend
from rankwright.engine.tokenize import PairTokenizer
from rankwright.engine.tokenizer_file import FileTokenizer
from rankwright.errors import InputError, MissingDependencyError, ModelError, ModelNotFoundError
from rankwright.model.contract import ScoringContract
from rankwright.model.exports import (
    BACKENDS,
    PRECISIONS,
    ExportEntry,
    Exports,
    read_exports,
    sample_fingerprint,
    weights_fingerprint,
)
from rankwright.model.folder import ModelFolder
from rankwright.model.layouts import LoadedLayout, read_layout
from rankwright.model.limits import position_limit
from rankwright.model.weights import find_weights

__all__ = [
    "Choice",
    "Runtime",
    "find_exports",
    "installed_backends",
    "is_installed",
    "load_backend",
    "open_folder",
]

logger = logging.getLogger(__name__)

_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
_SPEED = {"int8": 0, "int16": 1, "bf16": 2, "fp32": 3}
_KINDS: dict[str, Callable[[Path, int | None, str], Backend]] = {
    "onnx": OnnxBackend,
    "openvino": OpenVinoBackend,
    "native": NativeBackend,
}


@dataclass(frozen=True)
class Choice:
    """Which of a folder's exported models to run.

    Attributes:
        backend: ``"auto"``, ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: ``"fp32"``, ``"bf16"``, ``"int16"``, ``"int8"``, or None for any.
        file: Path inside the folder, or None.
        threads: How many batches run at once; None for all cores.
    """

    backend: str = "auto"
    precision: str | None = None
    file: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in ("auto", *BACKENDS):
            raise InputError(
                f"backend={self.backend!r} is not known; choose one of {('auto', *BACKENDS)}. "
                "For PyTorch use CrossEncoder."
            )
        if self.precision not in (None, *PRECISIONS):
            raise InputError(
                f"precision={self.precision!r} is not known; choose one of {PRECISIONS}, or None."
            )
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise InputError(f"threads={self.threads!r}; expected at least 1, or None.")


@dataclass(frozen=True)
class Runtime:
    """A loaded exported model.

    Attributes:
        backend: Executes it.
        entry: What is known of the file.
        tokenizer: Encodes pairs.
        contract: How pairs are scored; ``max_length`` is set.
        num_labels: Outputs per pair.
        pad_id: Token id of padding.
        position_limit: Most tokens the model has positions for; None for no limit.
    """

    backend: Backend
    entry: ExportEntry
    tokenizer: PairTokenizer
    contract: ScoringContract
    num_labels: int
    pad_id: int = 0
    position_limit: int | None = None


def installed_backends() -> tuple[str, ...]:
    """Backends that can run here: their package is installed, or the library was built."""
    return tuple(
        name
        for name in BACKENDS
        if (is_installed(_PACKAGES[name]) if name in _PACKAGES else unavailable() is None)
    )


def is_installed(package: str) -> bool:
    """Whether a package can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # something forbids it
        return False


def load_backend(path: Path, entry: ExportEntry, threads: int | None) -> Backend:
    """Loads one file.

    Raises:
        ModelError: It cannot be loaded, or computes wrongly on this processor.
        MissingDependencyError: Its package is not installed.
    """
    if entry.full_range and not exact_int8():
        raise ModelError(
            f"{path} has 8-bit weights for processors with VNNI, which this one ({machine_name()}) "
            "lacks: its sums would overflow and the scores be wrong. Export the model for it with: "
            f"rankwright export MODEL --backend {entry.backend} --precision int8"
        )
    return _KINDS[entry.backend](path, threads, entry.precision)


def find_exports(folder: ModelFolder, exports: Exports) -> list[ExportEntry]:
    """Every exported model of a folder, those that ``exports.json`` names and others.

    An entry whose file was replaced since counts as never verified.
    """
    found: list[ExportEntry] = []
    for entry in exports.entries:
        path = folder.path / entry.file
        if not path.is_file():
            continue
        if sample_fingerprint(path) != entry.fingerprint:
            logger.warning("%s was replaced since it was verified.", path)
            entry = replace(entry, verified=())
        found.append(entry)
    known = {entry.file for entry in found}
    patterns = {"onnx": ("*.onnx", "onnx/*.onnx"), "openvino": ("*.xml", "openvino/*.xml")}
    for backend, places in patterns.items():
        for path in sorted(p for place in places for p in folder.path.glob(place)):
            name = path.relative_to(folder.path).as_posix()
            if name not in known:
                found.append(
                    ExportEntry(backend, _precision(path.stem), name, "", full_range=False)
                )
    return found


def _precision(stem: str) -> str:
    """What a file of another program seems to be, by its name."""
    if re.search(r"int8|quantized", stem):
        return "int8"
    return "bf16" if "bf16" in stem else "fp32"


def open_folder(path: Path, choice: Choice) -> Runtime:
    """Loads the chosen exported model of a folder.

    With ``backend="auto"`` the fastest is taken of those whose scores were found to agree with
    float32 in the number format that this machine computes them in.

    Raises:
        ModelNotFoundError: There is no exported model, or not the one that was asked for.
        ModelError: It cannot be loaded, or the folder has other weights by now.
        MissingDependencyError: The package of its backend is not installed.
        ConfigError: A malformed file of the folder.
    """
    layout = read_layout(path, need_weights=False)
    folder = ModelFolder(path)
    exports = read_exports(folder)
    stale = _stale(layout, exports)
    entries = _wanted(folder, find_exports(folder, exports), choice)
    reasons: list[str] = []
    for entry, backend in _loaded(folder, entries, choice, reasons):
        if entry.fingerprint and stale:
            raise ModelError(
                f"{folder.path / entry.file} was made from other weights than those that are in "
                f"{layout.folder} now. Export the model again."
            )
        return _runtime(layout, entry, backend)
    raise ModelError(f"{path}: none of its exported models can be used here: {'; '.join(reasons)}.")


def _loaded(
    folder: ModelFolder, entries: list[ExportEntry], choice: Choice, reasons: list[str]
) -> Iterator[tuple[ExportEntry, Backend]]:
    """Those that can be loaded, best first; verified ones before others where any will do."""
    chosen = choice.backend != "auto" or choice.precision or choice.file
    later: list[tuple[ExportEntry, Backend]] = []
    for entry in entries:
        try:
            backend = load_backend(folder.path / entry.file, entry, choice.threads)
        except (MissingDependencyError, ModelError) as error:
            if len(entries) == 1:
                raise
            reasons.append(str(error).rstrip("."))
            continue
        if chosen or backend.computes in entry.verified:
            yield entry, backend
        elif entry.precision == "fp32":
            later.append((entry, backend))
        else:
            reasons.append(f"{entry.file} is not verified for {backend.computes}")
    for entry, backend in later:
        logger.warning(
            "%s: no exported model was verified on golden pairs; %s is used without proof that "
            "its scores are right. 'rankwright verify' compares them.",
            folder.path,
            entry.file,
        )
        yield entry, backend


def _stale(layout: LoadedLayout, exports: Exports) -> bool:
    if exports.weights is None:
        return False
    inner = ModelFolder(layout.folder)
    if not (inner.has("model.safetensors") or inner.has("model.safetensors.index.json")):
        return False  # a folder for deployment, which has no weights to compare with
    return weights_fingerprint(find_weights(inner)) != exports.weights


def _wanted(folder: ModelFolder, entries: list[ExportEntry], choice: Choice) -> list[ExportEntry]:
    """The entries that fit the choice, fastest first."""
    found = [
        entry
        for entry in entries
        if choice.backend in ("auto", entry.backend)
        and choice.precision in (None, entry.precision)
        and choice.file in (None, entry.file)
    ]
    if not found:
        have = ", ".join(f"{e.file} ({e.backend} {e.precision})" for e in entries) or "none"
        asked = " ".join(filter(None, (choice.backend, choice.precision, choice.file)))
        raise ModelNotFoundError(
            f"{folder.path} has no exported model for {asked}; it has {have}. Make one where "
            "PyTorch is installed: rankwright export MODEL --backend onnx --precision int8"
        )
    here = machine_name()
    installed = installed_backends()

    def order(entry: ExportEntry) -> tuple[bool, bool, bool, float, int]:
        speed = entry.speed.get(here)
        proven = bool(entry.verified)
        missing = entry.backend not in installed
        return missing, not proven, speed is None, -(speed or 0.0), _SPEED[entry.precision]

    return sorted(found, key=order)


def _runtime(layout: LoadedLayout, entry: ExportEntry, backend: Backend) -> Runtime:
    inner = ModelFolder(layout.folder)
    config = inner.json_object("config.json")
    with_types = "token_type_ids" in backend.inputs
    tokenizer = FileTokenizer.read(layout.folder / "tokenizer.json", with_types)
    if layout.num_labels is None:
        raise ModelError(
            f"{layout.folder}: its config.json names no sequence-classification head, so this is "
            "no reranker. Train one, and export that."
        )
    return Runtime(
        backend=backend,
        entry=entry,
        tokenizer=PairTokenizer(tokenizer),
        contract=layout.contract,
        num_labels=layout.num_labels,
        pad_id=_pad_id(config),
        position_limit=position_limit(config),
    )


def _pad_id(config: Mapping[str, Any]) -> int:
    value = config.get("pad_token_id")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
