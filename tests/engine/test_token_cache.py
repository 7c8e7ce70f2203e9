"""The token cache: same ids, bounded memory; and work done one piece ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright import CrossEncoder
from rankwright.engine.ahead import chunks, one_ahead
from rankwright.engine.token_cache import OVERHEAD, TokenCache
from rankwright.model import scored
from tests.tiny import save_tiny


class Counting:
    """Encodes a text as its code points and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        self.calls.append(texts)
        return [np.array([ord(c) for c in text], np.int32) for text in texts]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.text(max_size=4), max_size=6), max_size=8),
    st.integers(0, 3 * (OVERHEAD + 8)),
)
def test_ids_are_right_and_memory_is_bounded(batches: list[list[str]], most: int) -> None:
    cache = TokenCache(most)
    for texts in batches:
        found = cache.get(texts, Counting())
        assert {t: ids.tolist() for t, ids in found.items()} == {
            t: [ord(c) for c in t] for t in texts
        }
        assert cache.bytes <= most
        assert cache.bytes == sum(ids.nbytes + OVERHEAD for ids in cache._kept.values())


def test_a_text_is_encoded_once() -> None:
    cache, encode = TokenCache(), Counting()
    cache.get(["a", "b", "a"], encode)
    cache.get(["b", "c"], encode)
    cache.get(["c", "a"], encode)
    assert encode.calls == [["a", "b"], ["c"]]


def test_the_least_recently_used_goes_first() -> None:
    cache, encode = TokenCache(2 * (OVERHEAD + 4)), Counting()
    cache.get(["a"], encode)
    cache.get(["b"], encode)
    cache.get(["a"], encode)
    cache.get(["c"], encode)  # b goes
    cache.get(["a"], encode)
    cache.get(["b"], encode)
    assert encode.calls == [["a"], ["b"], ["c"], ["b"]]


def test_remembered_ids_cannot_be_changed() -> None:
    ids = TokenCache().get(["ab"], Counting())["ab"]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 0


def test_threads_share_a_small_cache() -> None:
    cache, wrong = TokenCache(20 * OVERHEAD), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            texts = [str(n) for n in rng.integers(0, 60, 5)]
            found = cache.get(texts, Counting())
            wrong.extend(t for t in texts if found[t].tolist() != [ord(c) for c in t])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.bytes <= cache.most_bytes


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 7))
def test_chunks_join_to_the_whole(count: int, first: int, rest: int) -> None:
    items = list(range(count))
    pieces = list(chunks(items, first, rest))
    assert [i for piece in pieces for i in piece] == items
    assert all(pieces)
    assert [len(p) for p in pieces[:1]] == [min(first, count)][: len(pieces)]


def test_one_ahead_is_a_map_that_works_ahead() -> None:
    started = []

    def double(n: int) -> int:
        started.append(n)
        return 2 * n

    for count in (0, 1, 2, 5):
        started.clear()
        assert list(one_ahead(double, iter(range(count)))) == [2 * n for n in range(count)]
        assert started == list(range(count))
    results = one_ahead(double, iter(range(10)))
    next(results)
    results.close()
    assert max(started) <= 4, "no more than one result waits"


def test_one_ahead_raises_where_the_result_is_due() -> None:
    def broken(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    results = one_ahead(broken, iter(range(4)))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_scores_do_not_depend_on_pieces(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CrossEncoder(str(save_tiny(tmp_path / "m")), max_length=12)
    pairs = [(f"query {i % 5}", "word " * (1 + i % 17) + str(i)) for i in range(40)]
    whole = model.score(pairs)
    monkeypatch.setattr(scored, "chunks", lambda items: chunks(items, 3, 7))
    pieces = model.score(pairs)
    np.testing.assert_allclose(pieces.scores, whole.scores, atol=1e-6)
    np.testing.assert_array_equal(pieces.lengths, whole.lengths)
    assert pieces.truncated == whole.truncated > 0


def test_the_query_and_known_documents_are_not_encoded_again(tmp_path) -> None:
    model = CrossEncoder(str(save_tiny(tmp_path / "m")))
    asked: list[str] = []
    encode = model.pair_tokenizer._encode_distinct

    def spy(texts: list[str]) -> list[np.ndarray]:
        asked.extend(texts)
        return encode(texts)

    model.pair_tokenizer._encode_distinct = spy  # type: ignore[method-assign]
    first = model.rank("a query", ["one", "two", "three"])
    assert sorted(asked) == ["a query", "one", "three", "two"]
    assert model.rank("a query", ["one", "two", "three"]) == first
    assert len(asked) == 4
