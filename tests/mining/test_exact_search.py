from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.mining.exact_search import SearchOptions, exact_search, faiss_search


def brute_force(queries: np.ndarray, documents: np.ndarray, k: int) -> tuple[list, list]:
    scores = queries.astype(np.float64) @ documents.astype(np.float64).T
    indices, values = [], []
    for row in scores:
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        missing = k - len(order)
        indices.append(order + [-1] * missing)
        values.append([row[i] for i in order] + [-np.inf] * missing)
    return indices, values


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    q=st.integers(0, 7),
    n=st.integers(1, 40),
    k=st.integers(1, 45),
    query_block=st.integers(1, 8),
    document_block=st.integers(1, 45),
)
def test_equals_brute_force_for_any_block_size(seed, q, n, k, query_block, document_block):
    rng = np.random.default_rng(seed)
    # Small whole numbers: many exact ties, and no rounding in any order of summation.
    queries = rng.integers(-2, 3, size=(q, 3)).astype(np.float32)
    documents = rng.integers(-2, 3, size=(n, 3)).astype(np.float32)
    options = SearchOptions(query_block=query_block, document_block=document_block)
    indices, scores = exact_search(queries, documents, k, options)
    expected_indices, expected_scores = brute_force(queries, documents, k)
    assert indices.tolist() == expected_indices
    assert scores.tolist() == expected_scores


def test_faiss_gives_the_same():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(7, 8)).astype(np.float32)
    documents = rng.normal(size=(50, 8)).astype(np.float32)
    options = SearchOptions(query_block=3, document_block=11)
    for k in (5, 60):
        exact = exact_search(queries, documents, k, options)
        found = faiss_search(queries, documents, k, options)
        np.testing.assert_array_equal(found[0], exact[0])
        np.testing.assert_allclose(found[1], exact[1], rtol=1e-5)


def test_read_only_arrays_are_searched(tmp_path):
    documents = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "d.npy", documents)
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    assert exact_search(mapped, mapped, 1, SearchOptions())[0].T.tolist() == [[0, 1, 2, 3]]
