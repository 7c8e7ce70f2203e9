"""Content hashes: the same content gives the same key in every process, on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import DataNotFoundError, InputTypeError

__all__ = ["content_hash", "file_fingerprint"]

DIGEST_BYTES = 16
CHUNK_BYTES = 1 << 20


def content_hash(*objects: Any) -> str:
    """A stable hash of plain values (BLAKE2b, RFC 7693), for use as a cache key.

    Known are None, bool, int, float, str, bytes, paths, sequences, mappings, sets, dataclasses
    and numpy arrays, nested at will. A list and a tuple with the same items are the same content,
    and so are mappings whatever their order; ``1``, ``1.0``, ``True`` and ``"1"`` are four
    different ones.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputTypeError: A value of another type, whose content cannot be known.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    _feed(digest, objects)
    return digest.hexdigest()


def file_fingerprint(path: str | Path) -> str:
    """Hash of a file's bytes, or of a folder's relative file names and bytes.

    Names outside the folder, times and permissions do not count, so a copy has the same
    fingerprint.

    Returns:
        32 hexadecimal digits.

    Raises:
        DataNotFoundError: Nothing is there.
    """
    path = Path(path)
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    if path.is_dir():
        for name in sorted(
            os.path.relpath(os.path.join(root, name), path).replace(os.sep, "/")
            for root, _, names in os.walk(path)
            for name in names
        ):
            _feed(digest, name)
            _feed_file(digest, path / name)
    elif path.exists():
        _feed_file(digest, path)
    else:
        raise DataNotFoundError(f"{path} does not exist, so it has no fingerprint.")
    return digest.hexdigest()


def _feed_file(digest: hashlib.blake2b, path: Path) -> None:
    digest.update(struct.pack("<q", path.stat().st_size))
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)


def _feed(digest: hashlib.blake2b, value: Any) -> None:
    # every value goes in as tag, length, bytes: no two contents can run into each other
    if isinstance(value, str):
        # surrogates can come from JSON and must not stop a hash
        _put(digest, b"s", value.encode("utf-8", "surrogatepass"))
    elif value is None:
        _put(digest, b"n", b"")
    elif isinstance(value, (bool, np.bool_)):
        _put(digest, b"b", b"1" if value else b"0")
    elif isinstance(value, (int, np.integer)):
        _put(digest, b"i", str(int(value)).encode())
    elif isinstance(value, (float, np.floating)):
        _put(digest, b"f", struct.pack("<d", float(value)))
    elif isinstance(value, (bytes, bytearray)):
        _put(digest, b"y", bytes(value))
    elif isinstance(value, Path):
        _put(digest, b"p", value.as_posix().encode("utf-8", "surrogateescape"))
    else:
        _feed_container(digest, value)


def _feed_container(digest: hashlib.blake2b, value: Any) -> None:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        _put(digest, b"a", f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _put(digest, b"m", str(len(value)).encode())
        for item in sorted(content_hash(key, item) for key, item in value.items()):
            digest.update(item.encode())
    elif isinstance(value, Set):
        _put(digest, b"t", str(len(value)).encode())
        for item in sorted(content_hash(member) for member in value):
            digest.update(item.encode())
    elif isinstance(value, Sequence):
        _put(digest, b"l", str(len(value)).encode())
        for member in value:
            _feed(digest, member)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _put(digest, b"d", type(value).__qualname__.encode())
        _feed(digest, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    else:
        raise InputTypeError(
            f"content_hash cannot hash a {type(value).__name__}: it knows None, bool, int, float, "
            "str, bytes, paths, sequences, mappings, sets, dataclasses and numpy arrays."
        )


def _put(digest: hashlib.blake2b, tag: bytes, content: bytes) -> None:
    digest.update(tag + struct.pack("<q", len(content)))
    digest.update(content)
