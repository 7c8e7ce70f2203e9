from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rankwright.errors import ConfigError, InputError, InputTypeError, ScoreError
from rankwright.model import CrossEncoder
from rankwright.model.fusing import fuse
from tests.tiny import tiny_model

QUERY = "how do i sort files"
TEXTS = ["close the file", "sort a list of files", "sort a list of files", "user name", "b"]


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder.from_transformers(*tiny_model("bert"))


def test_best_first_as_plain_data(model: CrossEncoder) -> None:
    scores = model.predict([(QUERY, text) for text in TEXTS])
    results = model.rank(QUERY, TEXTS)
    order = [result["corpus_id"] for result in results]
    assert order == sorted(range(5), key=lambda i: (-scores[i], i))  # ties keep their order
    assert all(type(result["score"]) is float for result in results)
    assert set(results[0]) == {"corpus_id", "score"}
    assert json.loads(json.dumps(results)) == results
    np.testing.assert_array_equal([r["score"] for r in results], scores[order])


def test_texts_and_top_k(model: CrossEncoder) -> None:
    results = model.rank(QUERY, TEXTS, return_documents=True, top_k=2)
    assert len(results) == 2
    assert all(result["text"] == TEXTS[result["corpus_id"]] for result in results)
    assert len(model.rank(QUERY, TEXTS, top_k=99)) == 5
    for top_k in (0, -1, 1.5):
        with pytest.raises(InputError, match="top_k"):
            model.rank(QUERY, TEXTS, top_k=top_k)  # type: ignore[arg-type]


def test_ids_and_metadata(model: CrossEncoder) -> None:
    ids, metadata = list("abcde"), [{"n": n} for n in range(5)]
    for result in model.rank(QUERY, TEXTS, ids=ids, metadata=metadata):
        assert result["id"] == ids[result["corpus_id"]]
        assert result["metadata"] == metadata[result["corpus_id"]]
    documents: list[Any] = [
        {"_id": i, "text": t, "url": i} for i, t in zip(ids, TEXTS, strict=True)
    ]
    documents[3] = TEXTS[3]
    mapped = {r["corpus_id"]: r for r in model.rank(QUERY, iter(documents), return_documents=True)}
    assert mapped[1]["id"] == "b"
    assert mapped[1]["metadata"] == {"url": "b"}
    assert mapped[1]["text"] == TEXTS[1]
    assert set(mapped[3]) == {"corpus_id", "score", "text"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("q", "one text"), InputTypeError, "documents is 'one text'"),
        (("q", ["a", 3]), InputTypeError, r"documents\[1\] is 3 \(int\)"),
        (("q", [{"title": "a"}]), InputError, r"documents\[0\] is"),
        ((["q"], ["a"]), InputTypeError, "query is"),
    ],
)
def test_bad_documents(
    model: CrossEncoder, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.rank(*arguments)


def test_bad_lengths_and_labels(model: CrossEncoder) -> None:
    with pytest.raises(InputError, match="ids has 1 entries for 5"):
        model.rank(QUERY, TEXTS, ids=["a"])
    with pytest.raises(InputTypeError, match="bare string"):
        model.rank(QUERY, TEXTS, ids="abcde")
    three = CrossEncoder.from_transformers(*tiny_model("bert", num_labels=3))
    with pytest.raises(InputError, match="this one has 3"):
        three.rank(QUERY, TEXTS)
    with pytest.warns(FutureWarning, match="convert_to_tensor has no effect"):
        model.rank(QUERY, TEXTS, convert_to_tensor=True)


def test_fusion() -> None:
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    first = [3.0, 1.0, 2.0, 9.0, 0.0]
    with pytest.raises(InputError, match=r"Tune the weight"):
        model.rank(QUERY, TEXTS, first_stage_scores=first)
    model.fusion = {"weight": 0.25, "normalisation": "min-max", "first_stage": "bm25"}
    scores = model.predict([(QUERY, text) for text in TEXTS]).astype(np.float64)
    own = (scores - scores.min()) / (scores.max() - scores.min())
    expected = 0.75 * own + 0.25 * np.array(first) / 9
    results = model.rank(QUERY, TEXTS, first_stage_scores=first)
    found = {r["corpus_id"]: r for r in results}
    np.testing.assert_allclose([found[i]["score"] for i in range(5)], expected, atol=1e-6)
    assert [r["corpus_id"] for r in results] == np.argsort(-expected, kind="stable").tolist()
    assert found[3]["first_stage_score"] == 9.0
    assert found[3]["reranker_score"] == pytest.approx(scores[3])
    assert "reranker_score" not in model.rank(QUERY, TEXTS)[0]
    with pytest.raises(InputError, match="4 scores for 5 documents"):
        model.rank(QUERY, TEXTS, first_stage_scores=first[:4])
    with pytest.raises(ScoreError, match=r"first_stage_scores\[1\] is nan"):
        model.rank(QUERY, TEXTS, first_stage_scores=[1, float("nan"), 2, 3, 4])
    with pytest.raises(InputError, match="must be numbers"):
        model.rank(QUERY, TEXTS, first_stage_scores=[1, "x", 2, 3, 4])  # type: ignore[list-item]
    with pytest.raises(InputError, match="cannot be passed together"):
        model.rank(QUERY, TEXTS, first_stage_scores=first, activation_fn="identity")


@pytest.mark.parametrize(
    "fusion", [{}, {"weight": 2}, {"weight": True}, {"weight": 0.5, "normalisation": "rank"}]
)
def test_fusions_that_do_not_hold(fusion: dict[str, Any]) -> None:
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    with pytest.raises(ConfigError, match="fusion"):
        model.fusion = fusion


@pytest.mark.parametrize("normalisation", ["min-max", "z-score", "none"])
def test_fusion_is_the_one_that_was_tuned(normalisation: str) -> None:
    fusion = pytest.importorskip("rankwright.evaluation.fusion").Fusion(0.3, normalisation, "bm25")
    generator = np.random.default_rng(0)
    for first in (generator.normal(size=7), np.ones(7)):
        scores = generator.normal(size=7)
        np.testing.assert_array_equal(
            fuse(fusion.to_dict(), scores.tolist(), first.tolist()), fusion.fuse(scores, first)
        )
