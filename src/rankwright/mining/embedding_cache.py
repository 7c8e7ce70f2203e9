"""Embeddings kept on disk, under a key that changes whenever they would."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import SaveError
from rankwright.mining.arrays import FloatArray

__all__ = ["cached_embeddings", "encoder_identity", "save_array", "texts_digest"]

logger = logging.getLogger(__name__)

Encode = Callable[[list[str]], FloatArray]

_PROBES = [
    "How do I list all files larger than 10 MB?",
    "The quick brown fox jumps over the lazy dog, 1234567890 times.",
    "Làm thế nào để tìm tệp tin? 如何查找文件？ ファイルの探し方",
    # Long enough to show at which length the encoder cuts.
    " ".join(f"word{number} retrieval" for number in range(1200)),
]
_SAMPLE = 28


def cached_embeddings(
    folder: str | Path, stem: str, texts: Sequence[str], encode: Encode, identity: str
) -> FloatArray:
    """Embeddings of ``texts`` from ``folder``, computed and stored there when absent.

    Args:
        folder: Created when missing.
        stem: Start of the file's name, such as "query_embeddings".
        texts: N texts; their content is part of the key.
        encode: Texts to ``(N, dim)`` float32.
        identity: Everything else the embeddings depend on, see `encoder_identity`.

    Returns:
        ``(N, dim)`` float32, mapped from the file rather than read when it was there.
    """
    key = hashlib.sha256(f"1\0{identity}\0{texts_digest(texts)}".encode()).hexdigest()
    path = Path(folder) / f"{stem}_{key}.npy"
    if path.exists():
        try:
            found: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            logger.warning("Cannot read %s (%s); computing these embeddings anew.", path, error)
        else:
            if found.ndim == 2 and len(found) == len(texts) and found.dtype == np.float32:
                logger.info("Loaded %s embeddings from %s", f"{len(found):,}", path)
                return found
            logger.warning("%s holds something else; computing these embeddings anew.", path)
    vectors = encode(list(texts))
    save_array(path, vectors)
    logger.info("Saved %s embeddings to %s", f"{len(vectors):,}", path)
    return vectors


def encoder_identity(encoder: Any, texts: Sequence[str], encode: Encode) -> str:
    """A digest that differs whenever ``encode`` would give other embeddings.

    It covers the encoder's class, its weights where it is a `torch.nn.Module` (or its own
    ``fingerprint`` where it has one), and the exact embeddings of a few fixed sentences and of
    some of ``texts``. A name alone would be shared by a model and its fine-tuned versions. When
    in doubt (another number of threads, another machine) the digest changes and the embeddings
    are computed anew.
    """
    digest = hashlib.sha256(f"{type(encoder).__module__}.{type(encoder).__qualname__}".encode())
    fingerprint = getattr(encoder, "fingerprint", None)
    if isinstance(fingerprint, str):
        digest.update(fingerprint.encode())
    elif callable(state_dict := getattr(encoder, "state_dict", None)):
        digest.update(_state_digest(state_dict()))
    step = max(1, len(texts) // _SAMPLE)
    digest.update(encode([*_PROBES, *texts[::step][:_SAMPLE]]).tobytes())
    return digest.hexdigest()


def texts_digest(texts: Sequence[str]) -> str:
    """SHA-256 of the texts, their order and their boundaries."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()


def save_array(path: Path, array: FloatArray) -> None:
    """Writes ``path`` in one step, so that nobody ever reads half a file.

    Raises:
        SaveError: The folder or the file cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=".", suffix=".tmp", delete=False
        ) as file:
            temporary = file.name
            np.save(file, array, allow_pickle=False)
        os.replace(temporary, path)
    except OSError as error:
        raise SaveError(f"Cannot write {path}: {error}. Choose another cache_folder.") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _state_digest(state: dict[str, Any]) -> bytes:
    import torch

    digest = hashlib.blake2b()
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, torch.Tensor):
            digest.update(f"{name}={value!r};".encode())
            continue
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.digest()
