from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankwright import CrossEncoder
from rankwright.errors import InputError
from tests.integrations.texts import QUERY, TEXTS
from tests.tiny import tiny_model

pytestmark = [
    pytest.mark.slow,  # importing the framework takes seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of its mock tasks
]


def wrapped(model: Any, *arguments: Any, **options: Any) -> Any:
    pytest.importorskip("mteb")
    from rankwright.integrations.mteb import RankwrightCrossEncoder

    return RankwrightCrossEncoder(model, *arguments, **options)


def test_the_protocol(model: CrossEncoder, folder: Path) -> None:
    encoder = wrapped(str(folder), None, "cpu")
    from mteb.models import CrossEncoderProtocol, ModelMeta

    assert isinstance(encoder, CrossEncoderProtocol)
    assert isinstance(encoder.mteb_model_meta, ModelMeta)
    assert encoder.mteb_model_meta.name == "local/tiny"
    assert encoder.mteb_model_meta.model_type == ["cross-encoder"]


def test_scores_in_batches(
    model: CrossEncoder, scores: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankwright.integrations import mteb as ours

    encoder = wrapped(model)
    queries = [{"text": [QUERY] * 3}, {"text": [QUERY]}]
    documents = [{"text": TEXTS[:1]}, {"text": TEXTS[1:]}]  # batches need not be of one size
    for size in (1, 3, 100):
        monkeypatch.setattr(ours, "PAIRS_AT_ONCE", size)
        found = encoder.predict(queries, documents, batch_size=2, show_progress_bar=False)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, list(scores.values()), rtol=1e-6)
    assert encoder.predict([], []).shape == (0,)


def test_what_cannot_be_scored(model: CrossEncoder) -> None:
    encoder = wrapped(model)
    with pytest.raises(InputError, match="2 queries and at least 1 documents"):
        encoder.predict([{"text": ["a", "b"]}], [{"text": ["a"]}])
    with pytest.raises(InputError, match="holds image, but no texts"):
        encoder.predict([{"image": [0]}], [{"text": ["a"]}])
    with pytest.raises(InputError, match="precision='int8' is for embeddings"):
        encoder.predict([], [], precision="int8")


def test_results_are_kept_by_what_decides_about_scores(folder: Path, tmp_path: Path) -> None:
    def revision(model: Any, **options: Any) -> Any:
        return wrapped(model, **options).mteb_model_meta.revision

    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    assert revision(copy) == revision(folder)
    tiny_model("bert", seed=3)[0].save_pretrained(copy)
    assert revision(copy) != revision(folder)
    assert revision(folder, revision="v1") == "v1"
    one, other = (CrossEncoder(str(path)) for path in (folder, copy))
    assert revision(one) == revision(CrossEncoder(str(folder)))
    assert revision(one) != revision(other)
    named = wrapped("organisation/model", "v2")
    assert named.mteb_model_meta.name == "organisation/model"
    assert named.mteb_model_meta.revision == "v2"
    assert named._scorer._loading.options["revision"] == "v2"
    short = wrapped(str(folder), max_length=9).mteb_model_meta
    assert short.experiment_kwargs == {"max_length": "9"}


def test_a_reranking_task(folder: Path) -> None:
    mteb = pytest.importorskip("mteb")
    from mteb.mocks.mock_tasks.reranking import MockRerankingTask

    task = MockRerankingTask()
    result = mteb.evaluate(wrapped(str(folder)), task, cache=None, co2_tracker=False)
    scores = result.task_results[0].scores["test"][0]
    task.load_data()
    data = task.dataset["default"]["test"]
    queries = dict(zip(data["queries"]["id"], data["queries"]["text"], strict=True))
    texts = {row["id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in data["corpus"]}
    model = CrossEncoder(str(folder))
    ranks = []
    for query, candidates in data["top_ranked"].items():
        found = model.predict([(queries[query], texts[c]) for c in candidates])
        order = [candidates[i] for i in np.argsort(-found)]
        relevant = {d for d, grade in data["relevant_docs"][query].items() if grade > 0}
        ranks.append(min(order.index(document) + 1 for document in relevant))
    assert scores["mrr_at_10"] == pytest.approx(np.mean([1 / rank for rank in ranks]), abs=1e-4)
