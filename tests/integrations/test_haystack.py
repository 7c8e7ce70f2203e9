from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import CrossEncoder
from rankwright.errors import InputError, InputTypeError
from tests.integrations.texts import QUERY, TEXTS

pytestmark = pytest.mark.slow  # importing the framework takes seconds


def ranker(model: Any, **options: Any) -> Any:
    pytest.importorskip("haystack")
    from rankwright.integrations.haystack import RankwrightRanker

    return RankwrightRanker(model, **options)


@pytest.fixture
def documents() -> list[Any]:
    pytest.importorskip("haystack")
    from haystack import Document

    return [
        Document(id=f"d{n}", content=text, meta={"n": n}, score=9.0 - n)
        for n, text in enumerate(TEXTS)
    ]


def expected(scores: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: -item[1])


def found(result: Any) -> list[tuple[str, float]]:
    assert list(result) == ["documents"]
    return [(document.content, document.score) for document in result["documents"]]


def test_the_best_come_first(
    model: CrossEncoder, scores: dict[str, float], documents: list[Any]
) -> None:
    result = ranker(model).run(query=QUERY, documents=documents)
    assert found(result) == expected(scores)
    assert [d.score for d in documents] == [9.0, 8.0, 7.0, 6.0]  # not changed
    for document in result["documents"]:
        assert TEXTS.index(document.content) == document.meta["n"]
    assert (
        found(ranker(model, top_k=3).run(query=QUERY, documents=documents, top_k=1))
        == (expected(scores)[:1])
    )
    assert ranker(model).run(query=QUERY, documents=[]) == {"documents": []}


def test_several_documents_with_one_id(model: CrossEncoder, documents: list[Any]) -> None:
    twice = [
        replace(documents[0], content="row", score=1.0),
        *documents,
        replace(documents[1], content="row", score=None),
    ]
    result = ranker(model).run(query=QUERY, documents=twice)
    assert sorted(text for text, _ in found(result)) == sorted(TEXTS)


def test_thresholds_and_scaling(
    model: CrossEncoder, scores: dict[str, float], documents: list[Any]
) -> None:
    least = expected(scores)[1][1]
    kept = ranker(model, score_threshold=least).run(query=QUERY, documents=documents)
    assert found(kept) == expected(scores)[:2]
    loose = ranker(model, score_threshold=least)
    assert len(found(loose.run(query=QUERY, documents=documents, score_threshold=0.0))) == 4
    raw = ranker(model, scale_score=False).run(query=QUERY, documents=documents)
    logits = np.array([score for _, score in found(raw)])
    by_hand = [score for _, score in expected(scores)]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), by_hand, rtol=1e-5)
    scaled = ranker(model, scale_score=False).run(
        query=QUERY, documents=documents, scale_score=True
    )
    assert found(scaled) == expected(scores)


def test_what_the_model_reads(documents: list[Any]) -> None:
    class Spy:
        def predict(self, pairs: Any, **_: Any) -> list[float]:
            self.pairs = pairs
            return [0.0] * len(pairs)

    spy = Spy()
    documents[1].meta["title"] = "T"
    documents[2] = replace(documents[2], content=None, meta={"title": None, "n": 7})
    ranker(
        spy,
        query_prefix="<q>",
        query_suffix="</q>",
        document_prefix="<d>",
        document_suffix="</d>",
        meta_fields_to_embed=["title", "n"],
        embedding_separator=" | ",
    ).run(query=QUERY, documents=documents[:3])
    assert spy.pairs == [
        (f"<q>{QUERY}</q>", f"<d>0 | {TEXTS[0]}</d>"),
        (f"<q>{QUERY}</q>", f"<d>T | 1 | {TEXTS[1]}</d>"),
        (f"<q>{QUERY}</q>", "<d>7 | </d>"),
    ]


def test_in_a_pipeline_that_is_saved(
    folder: Path, scores: dict[str, float], documents: list[Any]
) -> None:
    from haystack import Pipeline
    from haystack.core.errors import DeserializationError
    from haystack.utils import ComponentDevice, Secret

    pipeline = Pipeline()
    component = ranker(
        folder,
        top_k=2,
        meta_fields_to_embed=["absent"],
        device=ComponentDevice.from_str("cpu"),
        token=Secret.from_env_var("NO_SUCH_TOKEN", strict=False),
        load_options={"max_length": 40},
    )
    pipeline.add_component("ranker", component)
    text = pipeline.dumps()
    assert not component._scorer.loaded  # saving needs no model
    with pytest.raises(DeserializationError, match="not on the trusted-module allowlist"):
        Pipeline.loads(text)
    loaded = Pipeline.loads(text, allowed_modules=["rankwright.integrations.haystack"])
    result = loaded.run({"ranker": {"query": QUERY, "documents": documents}})
    assert found(result["ranker"]) == expected(scores)[:2]
    again = loaded.get_component("ranker")
    assert again._scorer.model.max_length == 40
    assert again.to_dict() == component.to_dict()
    settings = again.to_dict()["init_parameters"]
    assert settings["model"] == str(folder)
    assert settings["token"]["type"] == "env_var"


def test_warm_up_loads(folder: Path) -> None:
    component = ranker(folder)
    assert not component._scorer.loaded
    component.warm_up()
    assert component._scorer.loaded


def test_what_cannot_be_used(model: CrossEncoder, documents: list[Any]) -> None:
    for top_k in (0, -1):
        with pytest.raises(InputError, match="top_k"):
            ranker(model, top_k=top_k)
        with pytest.raises(InputError, match="top_k"):
            ranker(model).run(query=QUERY, documents=documents, top_k=top_k)
    with pytest.raises(InputTypeError, match="expected a CrossEncoder"):
        ranker(None)
    with pytest.raises(InputError, match="holds a loaded CrossEncoder"):
        ranker(model).to_dict()
