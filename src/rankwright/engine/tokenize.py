"""Texts and pairs to token ids: no shared state, one pass, truncation counted.

A tokenizer of the `tokenizers` library keeps truncation and padding as *state*, so two threads
that ask for different maximum lengths can silently get each other's. Here each text is encoded
once without special tokens and without truncation; cutting and joining happen in this module.
That also lets the tokens of a query be used for all its documents.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rankwright.engine.token_cache import DEFAULT_BYTES, TokenCache
from rankwright.errors import InputError

__all__ = ["PairTokenizer", "TextTokenizer", "TokenizedPairs", "longest_first"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class TokenizedPairs:
    """Token ids of P inputs.

    Attributes:
        input_ids: One int64 array per input, special tokens included, no padding.
        token_type_ids: Segment ids, shaped alike; None for models without segments.
        truncated: How many inputs were longer than the maximum and lost tokens.
    """

    input_ids: list[Ids]
    token_type_ids: list[Ids] | None
    truncated: int = 0

    @cached_property
    def lengths(self) -> Ids:
        """``(P,)`` int64 tokens per input."""
        return np.fromiter((len(ids) for ids in self.input_ids), np.int64, len(self.input_ids))

    def __len__(self) -> int:
        return len(self.input_ids)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens two sequences keep when together they may have ``room``.

    Tokens are taken from the longer one until both are equal, then from both in turn: what
    the ``tokenizers`` library calls "longest first". An odd token is left to the longer one.
    """
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (long, short) if first > second else (short, long)


@dataclass(frozen=True)
class _Template:
    """The special tokens around the parts, and the segment each position belongs to."""

    before: Ids
    between: Ids
    after: Ids
    before_types: Ids
    between_types: Ids
    after_types: Ids
    first_type: int
    second_type: int

    @property
    def extra(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


class PairTokenizer:
    """Encodes (query, document) pairs as the model's tokenizer would, safely from any thread.

    Ids and segments equal ``tokenizer(query, document, truncation=True, max_length=n)``.
    Tokenizers whose special tokens do not follow a fixed template, and tokenizers without a
    ``tokenizers`` backend, are called as they are, one thread at a time.

    Texts encoded before are remembered (see `TokenCache`), so that further epochs over a data
    set and further evaluations of the same candidates encode nothing.

    Args:
        tokenizer: A transformers tokenizer; it is copied, never changed.
        cache_bytes: Bound on the memory of remembered texts; 0 remembers none.
    """

    def __init__(self, tokenizer: Any, cache_bytes: int = DEFAULT_BYTES) -> None:
        self._cache = TokenCache(cache_bytes)
        self._tokenizer = deepcopy(tokenizer)  # calling a tokenizer changes its state
        self._lock = threading.Lock()
        self._with_types = "token_type_ids" in tokenizer.model_input_names
        self._backend = _private_backend(tokenizer)
        self._template = self._derive_template() if self._backend is not None else None

    def __getstate__(self) -> dict[str, Any]:
        # For dataloader workers that are started afresh: a lock cannot travel.
        return {"tokenizer": self._tokenizer, "cache_bytes": self._cache.most_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def encode(
        self, pairs: Sequence[tuple[str, str]], max_length: int, keep_end: bool = False
    ) -> TokenizedPairs:
        """Token ids of every pair, at most ``max_length`` each, the longer text cut first.

        Args:
            pairs: Queries and documents.
            max_length: Most tokens of a pair, special tokens included.
            keep_end: Whether texts that are cut lose their beginnings instead of their ends.

        Raises:
            InputError: ``max_length`` leaves no room for a token beside the special ones, or this
                tokenizer can only cut ends.
        """
        if self._template is None:
            if keep_end:
                raise InputError("This model's tokenizer can only cut the ends of texts.")
            return self._encode_whole(pairs, max_length)
        room = max_length - self._template.extra
        if room < 1:
            raise InputError(
                f"max_length={max_length} leaves no room for text: this tokenizer adds "
                f"{self._template.extra} special tokens. Use a larger max_length."
            )
        tokens = self._encode_texts(text for pair in pairs for text in pair)
        input_ids: list[Ids] = []
        types: list[Ids] | None = [] if self._with_types else None
        truncated = 0
        for query, document in pairs:
            first, second = tokens[query], tokens[document]
            n, m = longest_first(len(first), len(second), room)
            truncated += n < len(first) or m < len(second)
            if keep_end:
                first, second = first[len(first) - n :], second[len(second) - m :]
            ids, segments = self._join(first[:n], second[:m])
            input_ids.append(ids)
            if types is not None:
                types.append(segments)
        return TokenizedPairs(input_ids, types, truncated)

    @property
    def special_tokens(self) -> int:
        """How many tokens are added to every pair.

        Raises:
            InputError: This tokenizer follows no fixed template.
        """
        if self._template is None:
            raise InputError("This model's tokenizer does not tell how many tokens it adds.")
        return self._template.extra

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text, special tokens not counted."""
        if self._template is None:
            self.special_tokens  # noqa: B018 (raises)
        known = self._encode_texts(texts)
        return [len(known[text]) for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """For every token of a text, where it begins and ends, in characters.

        Raises:
            InputError: This tokenizer does not tell.
        """
        if self._backend is None:
            raise InputError("This model's tokenizer does not tell where its tokens lie in a text.")
        return list(self._backend.encode(text, add_special_tokens=False).offsets)

    def _encode_texts(self, texts: Iterable[str]) -> dict[str, NDArray[np.int32]]:
        return self._cache.get(texts, self._encode_distinct)

    def _encode_distinct(self, texts: list[str]) -> list[NDArray[np.int32]]:
        assert self._backend is not None
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _join(self, first: NDArray[np.int32], second: NDArray[np.int32]) -> tuple[Ids, Ids]:
        t = self._template
        assert t is not None
        parts = (t.before, first, t.between, second, t.after)
        ids: Ids = np.concatenate(parts, dtype=np.int64)
        if not self._with_types:
            return ids, ids
        segments = np.concatenate(
            (
                t.before_types,
                np.full(len(first), t.first_type),
                t.between_types,
                np.full(len(second), t.second_type),
                t.after_types,
            )
        )
        return ids, segments

    def _derive_template(self) -> _Template | None:
        """Reads the template off a probe, then checks it on others; None if there is none."""
        assert self._backend is not None
        probe = self._backend.encode("a", "b")
        owner = probe.sequence_ids
        ids = np.asarray(probe.ids, dtype=np.int64)
        types = np.asarray(probe.type_ids, dtype=np.int64)
        first = [i for i, who in enumerate(owner) if who == 0]
        second = [i for i, who in enumerate(owner) if who == 1]
        if not first or not second or first[-1] > second[0]:
            return None
        a, b = first[-1] + 1, second[-1] + 1
        self._template = _Template(
            ids[: first[0]],
            ids[a : second[0]],
            ids[b:],
            types[: first[0]],
            types[a : second[0]],
            types[b:],
            int(types[first[0]]),
            int(types[second[0]]),
        )
        for pair in (("a", "b"), ("Hello, wörld", "two  words\n"), ("", "b"), ("a", "")):
            expected = self._backend.encode(*pair)
            found = self.encode([pair], max_length=1_000_000)
            if expected.ids != found.input_ids[0].tolist():
                return None
            if found.token_type_ids is not None and (
                expected.type_ids != found.token_type_ids[0].tolist()
            ):
                return None
        return self._template

    def _encode_whole(self, pairs: Sequence[tuple[str, str]], max_length: int) -> TokenizedPairs:
        if not pairs:
            return TokenizedPairs([], [] if self._with_types else None)
        queries, documents = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        with self._lock:
            full = self._tokenizer(queries, documents, truncation=False, verbose=False)
            cut = self._tokenizer(queries, documents, truncation=True, max_length=max_length)
        truncated = sum(
            len(a) > len(b) for a, b in zip(full["input_ids"], cut["input_ids"], strict=True)
        )
        types = _arrays(cut["token_type_ids"]) if self._with_types else None
        return TokenizedPairs(_arrays(cut["input_ids"]), types, truncated)


class TextTokenizer:
    """Encodes single texts, for embedding models; thread-safe like `PairTokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        self._with_types = "token_type_ids" in tokenizer.model_input_names
        backend = _private_backend(tokenizer)
        if backend is None:
            raise InputError("This embedding model has no fast tokenizer (tokenizer.json).")
        self._backend = backend
        probe = np.asarray(backend.encode("a").ids, dtype=np.int64)
        core = np.asarray(backend.encode("a", add_special_tokens=False).ids, dtype=np.int64)
        start = next(i for i in range(len(probe)) if np.array_equal(probe[i : i + len(core)], core))
        self._before, self._after = probe[:start], probe[start + len(core) :]

    def encode(self, texts: Sequence[str], max_length: int) -> TokenizedPairs:
        """Token ids of every text, cut to ``max_length`` with special tokens kept."""
        room = max(max_length - len(self._before) - len(self._after), 1)
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [
            np.concatenate((self._before, np.asarray(e.ids[:room], dtype=np.int64), self._after))
            for e in encodings
        ]
        types = [np.zeros(len(i), dtype=np.int64) for i in ids] if self._with_types else None
        return TokenizedPairs(ids, types, sum(len(e.ids) > room for e in encodings))


def _private_backend(tokenizer: Any) -> Tokenizer | None:
    """A copy of the tokenizer's backend with truncation and padding off, or None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _arrays(rows: Iterable[Sequence[int]]) -> list[Ids]:
    return [np.asarray(row, dtype=np.int64) for row in rows]
