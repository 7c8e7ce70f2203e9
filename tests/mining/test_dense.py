from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from rankwright.errors import (
    EmptyDataError,
    InputError,
    InputTypeError,
    MissingDependencyError,
    SaveError,
    ScoreError,
)
from rankwright.mining import DenseRetriever
from rankwright.mining.encoding import EncodeOptions, encode_texts
from tests.mining.toys import ToyEncoder, sentences

DOCUMENTS = sentences(40, seed=1)
QUERIES = sentences(7, seed=2)


def cosines(queries: list[str], documents: list[str]) -> np.ndarray:
    a, b = (np.asarray(ToyEncoder().encode(t), dtype=np.float64) for t in (queries, documents))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


@pytest.mark.parametrize("use_faiss", [False, True])
def test_search_is_cosine(use_faiss: bool):
    if use_faiss:
        pytest.importorskip("faiss")
    stage = DenseRetriever(ToyEncoder(), use_faiss=use_faiss).index(DOCUMENTS)
    indices, scores = stage.search(QUERIES, 50)
    expected = cosines(QUERIES, DOCUMENTS)
    assert indices[:, :40].tolist() == np.argsort(-expected, axis=1).tolist()
    np.testing.assert_allclose(scores[:, :40], -np.sort(-expected, axis=1), atol=1e-6)
    assert (indices[:, 40:] == -1).all()
    assert np.isneginf(scores[:, 40:]).all()


def test_score_pairs_does_not_encode_queries_again():
    encoder = ToyEncoder()
    stage = DenseRetriever(encoder).index(DOCUMENTS)
    stage.search(QUERIES, 3)
    before = encoder.encoded
    rows, columns = np.array([0, 6, 3]), np.array([39, 0, 3])
    scores = stage.score_pairs(QUERIES, rows, columns)
    assert encoder.encoded == before
    np.testing.assert_allclose(scores, cosines(QUERIES, DOCUMENTS)[rows, columns], atol=1e-6)


class OneSided:
    def encode(self, texts):
        return torch.from_numpy(ToyEncoder().encode(texts)).to(torch.float64)


class TwoSided:
    prompts = {"q": "query: "}  # noqa: RUF012

    def __init__(self):
        self.seen: list[str] = []

    def encode_query(self, texts, batch_size=1):
        self.seen += texts
        return [row + 1 for row in ToyEncoder().encode(texts)]

    def encode_document(self, texts, batch_size=1):
        return ToyEncoder().encode(texts)


def test_any_kind_of_encoder():
    plain = encode_texts(lambda texts: ToyEncoder().encode(texts), DOCUMENTS, "document")
    assert plain.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(encode_texts(OneSided(), DOCUMENTS, "query"), plain, atol=1e-6)
    both = TwoSided()
    np.testing.assert_allclose(encode_texts(both, DOCUMENTS, "document"), plain, atol=1e-6)
    assert np.abs(encode_texts(both, DOCUMENTS, "query") - plain).max() > 0.05


def test_functions_get_a_batch_at_a_time():
    sizes = []

    def encode(texts):
        sizes.append(len(texts))
        return ToyEncoder().encode(texts)

    encode_texts(encode, DOCUMENTS, "document", EncodeOptions(batch_size=16))
    assert sizes == [16, 16, 8]


def test_prompts_are_put_before_texts():
    encoder = TwoSided()
    encode_texts(encoder, ["a"], "query", EncodeOptions(prompt="find: "))
    encode_texts(encoder, ["a"], "query", EncodeOptions(prompt_name="q"))
    assert encoder.seen == ["find: a", "query: a"]
    with pytest.raises(InputError, match=r"'x' is unknown to TwoSided; it has \['q'\]"):
        encode_texts(encoder, ["a"], "query", EncodeOptions(prompt_name="x"))


def test_zero_vector_stays_zero():
    vectors = encode_texts(lambda texts: np.zeros((len(texts), 3)), ["a"], "query")
    assert vectors.tolist() == [[0, 0, 0]]


def test_bad_encoders():
    with pytest.raises(InputTypeError, match="int is no encoder"):
        DenseRetriever(5).index(["a"])  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="EmbeddingModel"):
        DenseRetriever("some/model")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"shape \(1, 3\) for 2 texts"):
        DenseRetriever(lambda texts: np.ones((1, 3))).index(["a", "b"])
    with pytest.raises(ScoreError, match=r"NaN or infinity for 1 of 2 texts.*number 1: 'b'"):
        DenseRetriever(lambda t: np.array([[1.0], [np.nan]])).index(["a", "b"])
    with pytest.raises(EmptyDataError):
        DenseRetriever(ToyEncoder()).index([])
    with pytest.raises(InputError, match="Call index"):
        DenseRetriever(ToyEncoder()).search(["a"], 1)


def test_no_queries():
    indices, _ = DenseRetriever(ToyEncoder()).index(DOCUMENTS).search([], 3)
    assert indices.shape == (0, 3)


def test_missing_faiss_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"rankwright\[faiss\]"):
        DenseRetriever(ToyEncoder(), use_faiss=True).index(["a"]).search(["a"], 1)


class Weighted(torch.nn.Module):
    """Two of these differ only in a weight that no short text touches."""

    def __init__(self, weight: float):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.tensor([float(weight)]))
        self.encoded = 0

    def encode(self, texts, batch_size=32):
        self.encoded += len(texts)
        return ToyEncoder().encode(texts)


def searched(encoder, cache: Path, **options) -> tuple:
    stage = DenseRetriever(encoder, cache_folder=cache, **options).index(DOCUMENTS)
    return stage.search(QUERIES, 5)


def test_cache_is_used_and_gives_the_same(tmp_path: Path):
    first, again = Weighted(1), Weighted(1)
    fresh = searched(first, tmp_path)
    cached = searched(again, tmp_path)
    for a, b in zip(fresh, cached, strict=True):
        np.testing.assert_array_equal(a, b)
    names = sorted(path.name.split("_embeddings_")[0] for path in tmp_path.iterdir())
    assert names == ["corpus", "query"]
    assert first.encoded - again.encoded == len(DOCUMENTS) + len(QUERIES)


def test_cache_follows_weights_texts_and_prompts(tmp_path: Path):
    searched(Weighted(1), tmp_path)
    searched(Weighted(2), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    searched(Weighted(1), tmp_path, query_prompt="find ")
    assert len(list(tmp_path.iterdir())) == 5
    DenseRetriever(Weighted(1), cache_folder=tmp_path).index(DOCUMENTS[:-1])
    assert len(list(tmp_path.iterdir())) == 6


def test_cache_of_an_unknown_encoder_follows_what_it_gives(tmp_path: Path):
    for shift in (0, 1e-3, 0):
        stage = DenseRetriever(lambda t, s=shift: ToyEncoder().encode(t) + s, cache_folder=tmp_path)
        stage.index(DOCUMENTS)
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_cache_is_computed_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fresh = searched(ToyEncoder(), tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="rankwright"):
        again = searched(ToyEncoder(), tmp_path)
    assert "computing these embeddings anew" in caplog.text
    np.testing.assert_array_equal(fresh[0], again[0])


def test_cache_folder_that_is_a_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(SaveError):
        DenseRetriever(ToyEncoder(), cache_folder=path).index(["a"])
