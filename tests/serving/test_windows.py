"""Windows over long documents: they cover the text, overlap, and respect their limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.engine.tokenize import PairTokenizer
from rankwright.serving.windows import Window, combine, cut, windows_of
from tests.tiny import tiny_tokenizer

TOKENIZER = PairTokenizer(tiny_tokenizer())
WORDS = st.lists(st.sampled_from(["sort", "a", "list", "xyzzy", "中", "án"]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 30), st.integers(1, 12))
def test_windows_show_the_text_in_order(words: list[str], room: int, most: int) -> None:
    text = " ".join(words)
    windows, more = windows_of(TOKENIZER, text, room, most)
    assert 1 <= len(windows) <= most
    assert windows[0].start == 0
    for window in windows:
        assert len(TOKENIZER.offsets(text[window.start : window.stop])) <= room + room // 2 + 1
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start <= before.stop + 1
        assert before.stop < after.stop
    ends = [stop for _, stop in TOKENIZER.offsets(text)]
    assert more == (windows[-1].stop < max(ends, default=0))


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 30))
def test_cutting_keeps_the_beginning(words: list[str], most: int) -> None:
    text = " ".join(words)
    tokens = TOKENIZER.offsets(text)
    kept, lost = cut(TOKENIZER, text, most)
    assert text.startswith(kept)
    assert lost == (len(tokens) > most)
    if lost:
        assert TOKENIZER.offsets(kept) == tokens[:most]


def test_a_short_text_is_one_window() -> None:
    assert windows_of(TOKENIZER, "a list", 10, 5) == ([Window(0, 6)], False)
    assert windows_of(TOKENIZER, "", 10, 5) == ([Window(0, 0)], False)


@pytest.mark.parametrize(
    ("how", "expected"), [("first", 2.0), ("max", 9.0), ("mean", (9 + 5 + 4) / 3)]
)
def test_scores_of_windows_become_one(how: str, expected: float) -> None:
    assert combine(np.array([2, 9, 4, 5, 1], np.float32), how) == pytest.approx(expected)
    assert combine(np.array([3], np.float32), how) == 3
