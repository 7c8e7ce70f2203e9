"""Tokenising in parts gives the ids that the tokenizer itself gives."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from rankwright.engine.tokenize import PairTokenizer, TextTokenizer, longest_first
from rankwright.errors import InputError
from tests.tiny import FAMILIES, tiny_tokenizer

TOKENIZERS = {family: tiny_tokenizer(family) for family in FAMILIES}
TEXT = st.text(alphabet="abc xyz,.?中文 \n", max_size=60)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), maximum=st.integers(5, 40))
def test_same_ids_as_the_tokenizer(family: str, pairs: list, maximum: int) -> None:
    tokenizer = TOKENIZERS[family]
    expected = tokenizer(
        [q for q, _ in pairs], [d for _, d in pairs], truncation=True, max_length=maximum
    )
    found = PairTokenizer(tokenizer).encode(pairs, maximum)
    assert [row.tolist() for row in found.input_ids] == expected["input_ids"]
    if found.token_type_ids is not None:
        assert [row.tolist() for row in found.token_type_ids] == expected["token_type_ids"]
    whole = tokenizer([q for q, _ in pairs], [d for _, d in pairs])["input_ids"]
    assert found.truncated == sum(len(ids) > maximum for ids in whole)


@given(a=st.integers(0, 50), b=st.integers(0, 50), room=st.integers(1, 60))
def test_longest_first_against_one_token_at_a_time(a: int, b: int, room: int) -> None:
    n, m = longest_first(a, b, room)
    assert n + m == min(a + b, room)
    # Definition: always shorten the longer one, so the two differ by at most one where both lose.
    if n < a and m < b:
        assert abs(n - m) <= 1
    elif n < a:
        assert m == b
        assert n >= m - 1
    elif m < b:
        assert n == a
        assert m >= n - 1


def test_threads_with_different_maxima_do_not_meet() -> None:
    pairs = [("sort a list of files", "how do i sort files by size " * 9)] * 20
    shared = PairTokenizer(TOKENIZERS["bert"])
    lengths = [8, 12, 20, 32, 50] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: shared.encode(pairs, n).lengths.max(), lengths))
    assert found == lengths


def test_pickles() -> None:
    pairs = [("sort", "a list"), ("open", "files")]
    tokenizer = PairTokenizer(TOKENIZERS["bert"])
    again = pickle.loads(pickle.dumps(tokenizer))
    for a, b in zip(
        tokenizer.encode(pairs, 9).input_ids, again.encode(pairs, 9).input_ids, strict=True
    ):
        assert np.array_equal(a, b)


def test_no_room() -> None:
    with pytest.raises(InputError, match="max_length=3 leaves no room"):
        PairTokenizer(TOKENIZERS["bert"]).encode([("a", "b")], 3)


def test_the_callers_tokenizer_is_left_alone() -> None:
    tokenizer = tiny_tokenizer("bert")
    before = tokenizer.backend_tokenizer.to_str()
    PairTokenizer(tokenizer).encode([("sort", "a list")], 5)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_tokenizer_without_a_template_is_called_as_it_is() -> None:
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[U]": 0, "a": 1, "b": 2, "c": 3, "[S]": 4}, "[U]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    # The document comes first here: not a layout that parts can be put into.
    backend.post_processor = processors.TemplateProcessing("$A", "$B [S] $A", [("[S]", 4)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[U]", pad_token="[S]")
    pairs = [("a b", "c c c"), ("a", "b")]
    found = PairTokenizer(tokenizer).encode(pairs, 4)
    expected = tokenizer(
        [q for q, _ in pairs], [d for _, d in pairs], truncation=True, max_length=4
    )
    assert [row.tolist() for row in found.input_ids] == expected["input_ids"]
    assert found.truncated == 1
    assert len(PairTokenizer(tokenizer).encode([], 4)) == 0


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_single_texts(family: str) -> None:
    tokenizer = TOKENIZERS[family]
    texts = ["sort a list", "", "how do i open the file " * 10]
    found = TextTokenizer(tokenizer).encode(texts, 20)
    expected = tokenizer(texts, truncation=True, max_length=20)
    assert [row.tolist() for row in found.input_ids] == expected["input_ids"]
    assert found.truncated == 1
