"""Finding and checking weight files before anything is loaded from them.

Only safetensors are read. A pickle can run any code when it is opened, so a folder that holds
nothing else is refused. Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from rankwright.errors import ConfigError, UnsafeModelError, WeightsError
from rankwright.model.folder import ModelFolder

__all__ = ["INDEX_FILE", "WEIGHTS_FILE", "find_weights", "read_header"]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors library itself


def find_weights(folder: ModelFolder) -> tuple[Path, ...]:
    """The weight files of a folder, each one checked to be whole.

    Raises:
        UnsafeModelError: There are only pickles, or a shard's name leads outside the folder.
        WeightsError: No weights, a missing shard, or a truncated or corrupt file.
        ConfigError: A malformed shard index.
    """
    if folder.has(WEIGHTS_FILE):
        files: tuple[Path, ...] = (folder.path / WEIGHTS_FILE,)
    elif folder.has(INDEX_FILE):
        files = _shards(folder)
    else:
        raise _no_weights(folder)
    for file in files:
        read_header(file)
    return files


def _shards(folder: ModelFolder) -> tuple[Path, ...]:
    index = folder.json_object(INDEX_FILE)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(
            f"{folder.path / INDEX_FILE}: has no 'weight_map' object that says which shard holds "
            "which tensor. Restore the file from where the model came from."
        )
    if not all(isinstance(shard, str) for shard in weight_map.values()):
        raise ConfigError(f"{folder.path / INDEX_FILE}: 'weight_map' must hold file names.")
    names = sorted(set(weight_map.values()))
    files = tuple(folder.inside(name, INDEX_FILE) for name in names)
    for name, file in zip(names, files, strict=True):
        if not name.endswith(".safetensors"):
            raise UnsafeModelError(
                f"{folder.path / INDEX_FILE} names the shard {name!r}; "
                "only .safetensors files are read."
            )
        if not file.is_file():
            raise WeightsError(
                f"{file} is missing, but {INDEX_FILE} says that it holds "
                f"{sum(shard == name for shard in weight_map.values())} tensors. "
                "Download or copy the model again."
            )
    return files


def _no_weights(folder: ModelFolder) -> WeightsError | UnsafeModelError:
    pickles = sorted({file.name for pattern in _PICKLES for file in folder.path.glob(pattern)})
    if not pickles:
        found = sorted(file.name for file in folder.path.iterdir())[:20]
        return WeightsError(
            f"{folder.path} has no {WEIGHTS_FILE} and no {INDEX_FILE}; it has {found}. "
            "Download or copy the model again."
        )
    return UnsafeModelError(
        f"{folder.path} has its weights only as a pickle ({', '.join(pickles)}), which could run "
        "any code when opened. If you trust its author, convert it once where it can do no harm:\n"
        "  from transformers import AutoModelForSequenceClassification\n"
        f"  m = AutoModelForSequenceClassification.from_pretrained({str(folder.path)!r})\n"
        "  m.save_pretrained('converted')  # writes model.safetensors\n"
        "and copy the tokenizer's files beside it; or use a revision of the model that has "
        "safetensors."
    )


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, after checking that the file has the size its header promises.

    Raises:
        WeightsError: The file is truncated, has bytes too many, or its header is corrupt.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
        if length is None or length > min(_LARGEST_HEADER, size - 8):
            raise _broken(path, f"is {size} bytes, too short for its header")
        try:
            header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            promised = 8 + length + int(end)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _broken(path, f"has a corrupt header ({error})") from error
    if promised != size:
        raise _broken(path, f"is {size:,} bytes, but its header promises {promised:,}")
    return shapes


def _broken(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} {what}. The file is truncated or corrupt (an interrupted download or copy, or a "
        "full disk): download or copy the model again. A file of about 130 bytes is a Git LFS "
        "pointer; fetch the real one with 'git lfs pull'."
    )
