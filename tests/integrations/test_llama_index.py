from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rankwright import CrossEncoder
from rankwright.errors import InputError, InputTypeError
from tests.integrations.texts import QUERY, TEXTS

pytestmark = pytest.mark.slow  # importing the framework takes seconds


@pytest.fixture
def nodes() -> list[Any]:
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    return [
        NodeWithScore(node=TextNode(text=text, id_=f"n{n}"), score=n / 10)
        for n, text in enumerate(TEXTS)
    ]


def reranker(model: Any, **options: Any) -> Any:
    pytest.importorskip("llama_index.core")
    from rankwright.integrations.llama_index import RankwrightRerank

    return RankwrightRerank(model, **options)


def expected(scores: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: -item[1])


def found(nodes: Any) -> list[tuple[str, float]]:
    return [(item.node.text, item.score) for item in nodes]


def test_the_best_come_first(model: CrossEncoder, scores: dict[str, float], nodes: Any) -> None:
    best = reranker(model).postprocess_nodes(nodes, query_str=QUERY)
    assert found(best) == expected(scores)[:2]
    assert [item.score for item in nodes] == [0.0, 0.1, 0.2, 0.3]  # not changed
    every = reranker(model, top_n=10).postprocess_nodes(nodes, query_str=QUERY)
    assert found(every) == expected(scores)
    assert reranker(model).postprocess_nodes([], query_str=QUERY) == []
    again = asyncio.run(reranker(model).apostprocess_nodes(nodes, query_str=QUERY))
    assert found(again) == found(best)


def test_metadata_are_read_as_they_are_embedded(model: CrossEncoder, nodes: Any) -> None:
    for item in nodes:
        item.node.metadata = {"key": "value", "user": "name"}
        item.node.excluded_embed_metadata_keys = ["user"]
    best = reranker(model, top_n=4).postprocess_nodes(nodes, query_str=QUERY)
    texts = [f"key: value\n\n{item.node.text}" for item in best]
    assert [item.score for item in best] == model.predict([(QUERY, t) for t in texts]).tolist()


def test_the_retrievers_score_is_kept(
    model: CrossEncoder, scores: dict[str, float], nodes: Any
) -> None:
    from llama_index.core.schema import MetadataMode

    ranker = reranker(model, top_n=4, keep_retrieval_score=True)
    best = ranker.postprocess_nodes(nodes, query_str=QUERY)
    first = {text: n / 10 for n, text in enumerate(TEXTS)}
    for item in best:
        assert item.node.metadata == {"retrieval_score": first[item.node.text]}
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert item.node.get_content(mode) == item.node.text
    assert all(item.node.metadata == {} for item in nodes)
    assert [item.node.node_id for item in best] == [f"n{TEXTS.index(i.node.text)}" for i in best]
    # ... and so reranking once more gives the same scores
    assert found(ranker.postprocess_nodes(best, query_str=QUERY)) == expected(scores)


def test_events(model: CrossEncoder, folder: Path, nodes: Any) -> None:
    from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent

    seen: list[Any] = []

    class Recorder(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            seen.append(event)

    root, recorder = get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    try:
        ranker = reranker(folder, top_n=1, callback_manager=CallbackManager([debug]))
        best = ranker.postprocess_nodes(nodes, query_str=QUERY)
    finally:
        root.event_handlers.remove(recorder)
    events = [event for event in seen if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]
    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent]
    assert events[0].query == QUERY
    assert events[0].top_n == 1
    assert events[0].model_name == str(folder)
    assert len(events[0].nodes) == len(TEXTS)
    assert found(events[1].nodes) == found(best)
    ((start, end),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert start.payload["query_str"] == QUERY
    assert found(end.payload["nodes"]) == found(best)


def test_saving_and_loading(folder: Path, scores: dict[str, float], nodes: Any) -> None:
    ranker = reranker(folder, top_n=3, load_options={"max_length": 40})
    data = ranker.to_dict()
    assert data["class_name"] == ranker.class_name() == "RankwrightRerank"
    again = type(ranker).from_dict(data)
    assert found(again.postprocess_nodes(nodes, query_str=QUERY)) == expected(scores)[:3]
    assert again._scorer.model.max_length == 40


def test_what_cannot_be_used(model: CrossEncoder, nodes: Any) -> None:
    with pytest.raises(InputError, match="pass query_bundle or query_str"):
        reranker(model).postprocess_nodes(nodes)
    with pytest.raises(InputError, match="top_n=0"):
        reranker(model, top_n=0)
    with pytest.raises(InputTypeError, match="expected a CrossEncoder"):
        reranker(None)
