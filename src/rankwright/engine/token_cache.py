"""Token ids of texts that were encoded before, within a bounded amount of memory."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenCache"]

DEFAULT_BYTES = 64 * 2**20
OVERHEAD = 250
"""Bytes of an entry beside its ids: the key, the array's header, the dictionary's slot."""


class TokenCache:
    """Remembers the ids of texts by a hash of their content.

    Candidates of an evaluation, rows of a data set and documents of a busy index come again and
    again; encoding a text takes a hundred times as long as hashing it. The texts themselves
    are not kept. The least recently used entries go first when the bound is reached. Several
    threads may use it at once.

    Args:
        most_bytes: Bound on the memory of all entries; 0 keeps nothing.
    """

    def __init__(self, most_bytes: int = DEFAULT_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[bytes, NDArray[np.int32]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self, texts: Iterable[str], encode: Callable[[list[str]], list[NDArray[np.int32]]]
    ) -> dict[str, NDArray[np.int32]]:
        """Ids of every text; those not remembered are encoded in one call.

        Args:
            texts: Texts, which may repeat.
            encode: Distinct texts to one int32 array of ids each. Called at most once, outside
                the lock, and not at all if everything is known.

        Returns:
            Text -> ids, which are shared with later calls and cannot be written to.
        """
        keys = {text: _key(text) for text in texts}
        found: dict[str, NDArray[np.int32]] = {}
        missing: list[str] = []
        with self._lock:
            for text, key in keys.items():
                ids = self._kept.get(key)
                if ids is None:
                    missing.append(text)
                else:
                    self._kept.move_to_end(key)
                    found[text] = ids
        if missing:
            fresh = dict(zip(missing, encode(missing), strict=True))
            found.update(fresh)
            self._keep({keys[text]: ids for text, ids in fresh.items()})
        return found

    def _keep(self, fresh: dict[bytes, NDArray[np.int32]]) -> None:
        with self._lock:
            for key, ids in fresh.items():
                ids.flags.writeable = False
                if key not in self._kept and _size(ids) <= self.most_bytes:
                    self._kept[key] = ids
                    self.bytes += _size(ids)
            while self.bytes > self.most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= _size(oldest)


def _key(text: str) -> bytes:
    # Lone surrogates, which broken input can hold, have no UTF-8; they still need a key.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _size(ids: NDArray[np.int32]) -> int:
    return ids.nbytes + OVERHEAD
