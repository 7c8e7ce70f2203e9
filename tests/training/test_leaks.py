from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from hypothesis import given
from hypothesis import strategies as st

from rankwright.errors import DataError, InputError
from rankwright.evaluation import (
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
    SequentialEvaluator,
)
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from rankwright.training.collator import PackedInputs
from rankwright.training.leaks import EvaluatedTexts, LeakCheckingCollator, LeakWatch
from tests.training.stub import StubEncoder, rows

TRAIN = [
    {"query": f"query {i}", "document": f"document {i}", "label": float(i % 2)} for i in range(50)
]


def held_out(*queries: str) -> Dataset:
    return Dataset.from_list(
        [{"query": q, "document": f"other {q}", "label": 1.0} for q in queries] or [TRAIN[0]]
    )


def look(
    train: Any, evaluation: Any = None, evaluators: Any = (), action: str = "warn"
) -> LeakWatch:
    watch = LeakWatch(action)
    watch.look(train, evaluation, evaluators)
    return watch


def found(watch: LeakWatch) -> list[str]:
    return sorted(watch.texts.texts[i] for i in watch.numbers)


@pytest.mark.parametrize(
    "same", ["query 7", " Query\t 7\n", "QUERY 7", "ｑｕｅｒｙ ７", "query\u00a07"]
)
def test_a_shared_query_is_named_after_normalisation(same: str, caplog: Any) -> None:
    watch = look(Dataset.from_list(TRAIN), held_out("new one", same))
    assert found(watch) == [same]
    assert watch.pairs == 0
    assert "1 of 2 queries that are evaluated on are in the training data too" in caplog.text
    assert repr(same) in caplog.text
    assert "split by query" in caplog.text


def test_no_leak_no_word(caplog: Any) -> None:
    look(Dataset.from_list(TRAIN), held_out("query 77", "query", "document 3"))
    assert not caplog.records


def test_shared_pairs_are_counted(caplog: Any) -> None:
    evaluation = Dataset.from_list([
        {"query": "query 1", "document": "Document  1", "label": 1.0},
        {"query": "query 2", "document": "another one", "label": 1.0},
        {"query": "new", "document": "document 3", "label": 1.0},
    ])  # fmt: skip
    watch = look(Dataset.from_list(TRAIN), evaluation)
    assert found(watch) == ["query 1", "query 2"]
    assert watch.pairs == 1
    assert "1 training pairs are the very pairs" in caplog.text


LISTS = {"query": "query 3", "documents": ["x", "document 3"], "labels": [0, 1]}
TUPLE = {"query": "query 3", "positive": "document 3", "negative": "x"}


@pytest.mark.parametrize("layout", [LISTS, TUPLE])
def test_lists_and_tuples(layout: dict[str, Any]) -> None:
    assert look(Dataset.from_list(TRAIN), Dataset.from_list([layout])).pairs == 1
    assert look(Dataset.from_list([layout]), Dataset.from_list(TRAIN)).pairs == 1


def evaluator(query: str, name: str = "") -> CrossEncoderRerankingEvaluator:
    samples = [{"query": query, "positive": ["document 5"], "negative": ["x"]}]
    return CrossEncoderRerankingEvaluator(samples, name=name)


def test_evaluators_show_their_texts(caplog: Any) -> None:
    pairs = CrossEncoderCorrelationEvaluator([("query 9", "document 9"), ("a", "b")], [0.0, 1.0])
    several = [SequentialEvaluator([evaluator("query 5"), evaluator("new", "b")]), pairs]
    watch = look(Dataset.from_list(TRAIN), held_out("query 1"), [*several, lambda *args: 0.0])
    assert found(watch) == ["query 1", "query 5", "query 9"]
    assert watch.pairs == 2


def test_graded_positives_and_documents() -> None:
    samples = {
        1: {"query": "query 4", "positive": {"document 4": 2}, "documents": ["y"]},
        2: {"query": "query 6", "positive": "document 6", "documents": ["y"]},
    }
    assert (
        look(Dataset.from_list(TRAIN), None, [CrossEncoderRerankingEvaluator(samples)]).pairs == 2
    )


def test_several_datasets() -> None:
    train = DatasetDict({"a": Dataset.from_list(TRAIN[:10]), "b": Dataset.from_list(TRAIN[10:])})
    watch = look(train, {"x": held_out("query 3"), "y": held_out("query 30", "query 60")})
    assert found(watch) == ["query 3", "query 30"]


def test_error_before_the_first_step_and_ignore(caplog: Any) -> None:
    with pytest.raises(DataError, match=r"1 of 1 queries .*'query 3'.*on_leak='warn' would go on"):
        look(Dataset.from_list(TRAIN), held_out("query 3"), action="error")
    look(Dataset.from_list(TRAIN), held_out("query 3"), action="ignore")
    assert not caplog.records


def test_long_queries_and_many_are_cut(caplog: Any) -> None:
    queries = [f"{i} {'long ' * 100}" for i in range(9)]
    train = Dataset.from_list([{"query": q, "document": "d", "label": 1.0} for q in queries])
    look(train, held_out(*queries))
    assert "9 of 9 queries" in caplog.text
    assert caplog.text.count("long long") < 120
    assert "…" in caplog.text


def collate(batch: Any) -> PackedInputs:
    return PackedInputs(rows=torch.tensor(len(batch)))


@pytest.mark.parametrize("kind", ["stream", "transform"])
def test_what_cannot_be_read_twice_is_checked_as_it_passes(kind: str, caplog: Any) -> None:
    data: Any = Dataset.from_list(TRAIN)
    data = data.to_iterable_dataset() if kind == "stream" else data.with_transform(lambda b: b)
    watch = look(data, held_out("query 3", "query 4", "query 70"))
    assert not caplog.records
    collator = pickle.loads(pickle.dumps(watch.collator(collate, data)))
    assert isinstance(collator, LeakCheckingCollator)
    first = collator(TRAIN[:4])
    assert first["rows"] == 4
    assert first["leaked"].tolist() == [0]
    watch.count(first.to("meta"))
    assert "1 of 3 queries" in caplog.text
    watch.count(collator(TRAIN[4:8]))
    watch.count(collator(TRAIN[8:]))
    assert len(caplog.records) == 1
    watch.on_train_end(None, None, None)
    assert "2 of 3 queries" in caplog.text
    watch.count({"no": "such entry"})


def test_a_stream_can_be_stopped() -> None:
    stream = Dataset.from_list(TRAIN).to_iterable_dataset()
    watch = look(stream, held_out("query 3"), action="error")
    collator = watch.collator(collate, stream)
    collator(TRAIN[4:])
    with pytest.raises(DataError, match="'query 3'"):
        collator(TRAIN[:4])


def test_no_collator_where_nothing_can_pass() -> None:
    whole, stream = Dataset.from_list(TRAIN), Dataset.from_list(TRAIN).to_iterable_dataset()
    assert look(whole, held_out("query 3")).collator(collate, whole) is collate
    assert look(stream).collator(collate, stream) is collate
    assert look(stream, held_out("q"), action="ignore").collator(collate, stream) is collate


TEXTS = st.lists(st.text(max_size=6), min_size=1, max_size=6)


@given(TEXTS, TEXTS)
def test_what_is_found_is_what_brute_force_finds(train: list[str], evaluated: list[str]) -> None:
    import unicodedata

    def plain(text: str) -> str:
        text = unicodedata.normalize("NFKC", text).casefold()
        return " ".join(unicodedata.normalize("NFKC", text).split())

    texts = EvaluatedTexts()
    for query in evaluated:
        texts.add(query, [])
    numbers, _ = texts.found({"query": train, "document": train})
    expected = {plain(q) for q in evaluated} & {plain(q) for q in train}
    assert {plain(texts.texts[i]) for i in numbers} == expected


# --- in training


def arguments(folder: Path, **options: Any) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(
        str(folder), use_cpu=True, max_steps=2, per_device_train_batch_size=4, disable_tqdm=True,
        report_to="none", save_strategy="no", **options,
    )  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_training_warns(stream: bool, tmp_path: Path, caplog: Any) -> None:
    data: Any = rows(8)
    if stream:
        data = IterableDataset.from_generator(rows, gen_kwargs={"count": 8})
    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(tmp_path), train_dataset=data,
        eval_dataset=[{**rows(8)[5], "document": "new"}],
    )  # fmt: skip
    trainer.train()
    assert "1 of 1 queries that are evaluated on" in caplog.text
    assert trainer.leaks.pairs == 0


@pytest.mark.parametrize("stream", [False, True])
def test_training_stops(stream: bool, tmp_path: Path) -> None:
    data: Any = rows(8)
    if stream:
        data = IterableDataset.from_generator(rows, gen_kwargs={"count": 8})
    trainer = CrossEncoderTrainer(
        model=StubEncoder(), args=arguments(tmp_path, on_leak="error"), train_dataset=data,
        eval_dataset=rows(8)[3:5],
    )  # fmt: skip
    with pytest.raises(DataError, match="queries that are evaluated on are in the training data"):
        trainer.train()


def test_unknown_actions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="on_leak='stop' is not known; .*'warn', 'error', 'ignore'"
    ):
        arguments(tmp_path, on_leak="stop")
    with pytest.raises(InputError, match="on_collapse='error' is not known; .*'stop', 'ignore'"):
        arguments(tmp_path, on_collapse="error")
