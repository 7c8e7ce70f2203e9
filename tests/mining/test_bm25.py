from __future__ import annotations

import logging
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import EmptyDataError, InputError, InputTypeError
from rankwright.mining import BM25

DOCUMENTS = [
    "sort the lines of a file",
    "list all open network ports",
    "sort files by size and list them",
    "the of and",
    "",
    "sort the lines of a file",
]


def lucene_scores(documents: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """BM25 as Lucene computes it (without its lossy lengths), term by term, in float64."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts = Counter(document)
        total = 0.0
        for term in query:
            frequency = sum(term in other for other in documents)
            if not frequency:
                continue
            idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
            norm = k1 * (1 - b + b * len(document) / mean)
            total += idf * counts[term] / (counts[term] + norm)
        scores.append(total)
    return scores


words = st.sampled_from("alpha beta gamma delta epsilon zeta".split())
texts = st.lists(words, max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=12), texts, st.integers(1, 15))
def test_search_equals_the_formula(documents: list[str], query: str, k: int):
    bm25 = BM25(language="none").index(documents)
    indices, scores = bm25.search([query], k)
    tokens = [document.split() for document in documents]
    mean = sum(map(len, tokens))
    expected = lucene_scores(tokens, query.split(), 1.2, 0.75) if mean else [0.0] * len(tokens)
    shares = [bool(set(query.split()) & set(document)) for document in tokens]
    rounded = [round(score, 4) for score in expected]
    hits = [i for i in indices[0].tolist() if i >= 0]
    assert all(shares[i] for i in hits)
    assert len(hits) == min(k, sum(shares))
    np.testing.assert_allclose(scores[0, : len(hits)], [expected[i] for i in hits], rtol=1e-5)
    wanted = sorted((i for i in range(len(tokens)) if shares[i]), key=lambda i: (-rounded[i], i))
    assert [rounded[i] for i in hits] == [rounded[i] for i in wanted[:k]]
    assert np.isneginf(scores[0, len(hits) :]).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=1, max_size=10), st.lists(texts, min_size=1, max_size=4))
@pytest.mark.parametrize("method", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_score_pairs_equals_search(method: str, documents: list[str], queries: list[str]):
    bm25 = BM25(language="none", method=method).index(documents)
    indices, scores = bm25.search(queries, len(documents))
    rows, places = np.nonzero(indices >= 0)
    found = bm25.score_pairs(queries, rows, indices[rows, places])
    np.testing.assert_array_equal(found, scores[rows, places])


def test_ties_are_in_document_order_also_at_the_cut():
    bm25 = BM25().index(["same text"] * 9)
    assert bm25.search(["text"], 4)[0].tolist() == [[0, 1, 2, 3]]


def test_documents_without_a_common_term_are_no_hits():
    indices, scores = BM25().index(DOCUMENTS).search(["network"], 3)
    assert indices.tolist() == [[1, -1, -1]]
    assert scores[0, 0] > 0
    assert np.isneginf(scores[0, 1:]).all()
    assert (indices.dtype, scores.dtype) == (np.int64, np.float32)


def test_query_of_stop_words_or_nothing_has_no_hits():
    indices, _ = BM25().index(DOCUMENTS).search(["the of", "", "?!", "unheard"], 2)
    assert (indices == -1).all()


def test_corpus_without_terms_can_be_indexed():
    indices, _ = BM25().index(["the", ""]).search(["the files"], 2)
    assert (indices == -1).all()


def test_no_queries():
    indices, scores = BM25().index(DOCUMENTS).search([], 2)
    assert indices.shape == scores.shape == (0, 2)


def test_chinese_is_found_by_pairs():
    bm25 = BM25(language="zh").index(["如何删除空目录", "查看磁盘空间", "删除文件"])
    assert bm25.search(["怎样删除目录"], 3)[0].tolist() == [[0, 2, -1]]


def test_auto_says_what_it_picked(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="rankwright"):
        BM25(language="auto").index(["查看磁盘空间", "删除文件"], show_progress_bar=False)
    assert "chinese" in caplog.text


def test_quiet_unless_asked(capfd: pytest.CaptureFixture[str]):
    BM25().index(DOCUMENTS, show_progress_bar=False).search(["file"], 1, show_progress_bar=False)
    assert capfd.readouterr() == ("", "")
    BM25().index(DOCUMENTS, show_progress_bar=True)
    assert "BM25" in capfd.readouterr().err


def test_errors_teach():
    with pytest.raises(InputError, match=r"'okapi' is not known. Choose one of: lucene"):
        BM25(method="okapi")
    with pytest.raises(InputError, match="k1=-1"):
        BM25(k1=-1)
    with pytest.raises(InputError, match="index"):
        BM25().search(["file"], 1)
    with pytest.raises(EmptyDataError, match="no documents"):
        BM25().index([])
    with pytest.raises(InputTypeError, match="one string"):
        BM25().index("sort the file")
    with pytest.raises(InputError, match="at least 1"):
        BM25().index(DOCUMENTS).search(["file"], 0)
