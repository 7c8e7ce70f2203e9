"""``exports.json``: which exported models a folder holds, and how well each agrees.

An export is only as good as its proof: every entry says how far its scores are from those of the
weights it was made from, on the golden pairs of the folder, and how fast it was where. Files that
no entry names, such as exports of other programs, can be run too, but only when asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rankwright.data.atomic import atomic_write
from rankwright.errors import ConfigError
from rankwright.model.folder import ModelFolder

__all__ = [
    "BACKENDS",
    "EXPORTS_FILE",
    "PRECISIONS",
    "ExportEntry",
    "Exports",
    "read_exports",
    "sample_fingerprint",
    "weights_fingerprint",
    "write_exports",
]

EXPORTS_FILE = "exports.json"
VERSION = 1
BACKENDS = ("onnx", "openvino", "native")
PRECISIONS = ("fp32", "bf16", "int16", "int8")

_BLOCKS, _BLOCK = 64, 4096


@dataclass(frozen=True)
class ExportEntry:
    """One exported model.

    Attributes:
        backend: ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: ``"fp32"``, ``"bf16"``, ``"int16"`` or ``"int8"``.
        file: Path inside the folder.
        fingerprint: Of the file; another one means that it was replaced.
        kept: Parts of the model that were left in float32 because they failed in int8.
        full_range: Whether 8-bit weights use all 8 bits, for processors that add without
            saturating (see `rankwright.engine.cpu.exact_int8`).
        agreement: Agreement with float32 on the golden pairs, by measure.
        verified: Number formats in which the agreement was found good: what ``bf16`` computes in
            depends on the machine.
        speed: Machine -> pairs per second on the golden pairs.
    """

    backend: str
    precision: str
    file: str
    fingerprint: str
    kept: tuple[str, ...] = ()
    full_range: bool = False
    agreement: Mapping[str, float] = field(default_factory=dict)
    verified: tuple[str, ...] = ()
    speed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Exports:
    """What ``exports.json`` says.

    Attributes:
        weights: Fingerprint of the weights that all exports were made from; None if the folder
            has no such file.
        entries: The exports.
    """

    weights: str | None = None
    entries: tuple[ExportEntry, ...] = ()

    def with_entry(self, entry: ExportEntry) -> Exports:
        """The same with one more entry, in place of a former one for the same file."""
        others = tuple(other for other in self.entries if other.file != entry.file)
        order = sorted((*others, entry), key=lambda e: (e.backend, e.precision, e.file))
        return replace(self, entries=tuple(order))


def read_exports(folder: ModelFolder) -> Exports:
    """The folder's exports; none if it has no such file.

    Raises:
        ConfigError: The file does not hold what it should.
        UnsafeModelError: An entry names a path outside the folder.
    """
    values = folder.json_object(EXPORTS_FILE)
    if not values:
        return Exports()
    source = folder.path / EXPORTS_FILE
    if values.get("version", VERSION) != VERSION:
        raise ConfigError(
            f"{source}: 'version' is {values['version']!r}; this release reads {VERSION}. Upgrade "
            "with: pip install --upgrade rankwright"
        )
    rows = values.get("exports", [])
    if not isinstance(rows, list):
        raise ConfigError(f"{source}: 'exports' is {rows!r:.80}; expected a list.")
    return Exports(values.get("weights"), tuple(_entry(row, folder) for row in rows))


def _entry(row: Any, folder: ModelFolder) -> ExportEntry:
    try:
        entry = ExportEntry(
            backend=row["backend"],
            precision=row["precision"],
            file=str(row["file"]),
            fingerprint=str(row["fingerprint"]),
            kept=tuple(row.get("kept", ())),
            full_range=bool(row.get("full_range", False)),
            agreement={str(k): float(v) for k, v in row.get("agreement", {}).items()},
            verified=tuple(map(str, row.get("verified", ()))),
            speed={str(k): float(v) for k, v in row.get("speed", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{folder.path / EXPORTS_FILE}: the entry {row!r:.120} does not hold "
            f"({type(error).__name__}: {error}). Export the model again."
        ) from error
    if entry.backend not in BACKENDS or entry.precision not in PRECISIONS:
        raise ConfigError(
            f"{folder.path / EXPORTS_FILE}: {entry.backend!r} in {entry.precision!r}; expected one "
            f"of {BACKENDS} in one of {PRECISIONS}."
        )
    folder.inside(entry.file, EXPORTS_FILE)
    return entry


def write_exports(folder: Path, exports: Exports) -> None:
    """Writes ``exports.json``, whole or not at all.

    Raises:
        SaveError: The operating system refused.
    """
    rows = [asdict(entry) for entry in exports.entries]
    values = {"version": VERSION, "weights": exports.weights, "exports": rows}
    with atomic_write(folder / EXPORTS_FILE) as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def sample_fingerprint(path: Path) -> str:
    """Hash of a file's size and of 64 blocks of 4 KiB spread over it: 32 hexadecimal digits.

    Reading all of a large model would take longer than loading it, and training or quantising
    changes nearly every block. Against somebody who means harm it is no protection.
    """
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(size - _BLOCK, 0) * number // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def weights_fingerprint(files: tuple[Path, ...]) -> str | None:
    """Fingerprint of all weight files of a model; None for none."""
    if not files:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        digest.update(sample_fingerprint(file).encode())
    return digest.hexdigest()
