"""Teacher scores: the right numbers in the right rows, once, and never those of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from rankwright.errors import (
    ColumnError,
    EmptyDataError,
    InputError,
    InputTypeError,
    SaveError,
    ScoreError,
)
from rankwright.losses import MarginMSELoss, MSELoss
from rankwright.mining import TeacherOptions, score_with_teacher
from rankwright.model import CrossEncoder
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from tests.tiny import tiny_model
from tests.tiny_lm import tiny_lm

PAIRS = {"query": ["sort", "open", "sort"], "document": ["a list", "close", "a list"]}
TUPLES = {"q": ["sort", "open"], "pos": ["a list", "x"], "neg": ["b", "a list"]}
LISTS = {"q": ["sort", "open", "by"], "docs": [["a", "b"], [], ["c"]], "labels": [[1, 0], [], [1]]}


class Counting:
    """A teacher whose score is the sum of the lengths, a hundred times for the query."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[list[tuple[str, str]]] = []
        self.fail_at = fail_at

    def __call__(self, pairs: list[tuple[str, str]]) -> list[float]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(pairs))
        return [100.0 * len(q) + len(d) for q, d in pairs]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [pair for call in self.calls for pair in call]


def encoder(seed: int = 0) -> CrossEncoder:
    return CrossEncoder.from_transformers(*tiny_model("bert", seed=seed))


def test_every_layout() -> None:
    found = score_with_teacher(Dataset.from_dict(PAIRS), Counting())
    assert found.column_names == ["query", "document", "score"]
    assert list(found["score"]) == [406.0, 405.0, 406.0]
    found = score_with_teacher(Dataset.from_dict(TUPLES), Counting())
    assert found.column_names == ["q", "pos", "neg", "scores"]
    assert list(found["scores"]) == [[406.0, 401.0], [401.0, 406.0]]
    found = score_with_teacher(Dataset.from_dict(LISTS), Counting())
    assert found.column_names == ["q", "docs", "scores"]
    assert list(found["scores"]) == [[401.0, 401.0], [], [201.0]]


def test_pairs_are_scored_once() -> None:
    teacher = Counting()
    score_with_teacher(Dataset.from_dict(PAIRS), teacher)
    assert sorted(teacher.pairs) == [("open", "close"), ("sort", "a list")]


def test_labels_stay_only_if_asked_for() -> None:
    rows = Dataset.from_dict(PAIRS | {"label": [1, 0, 1], "score": [9.0, 9.0, 9.0]})
    found = score_with_teacher(rows, Counting())
    assert found.column_names == ["query", "document", "score"]
    found = score_with_teacher(rows, Counting(), TeacherOptions(keep_labels=True))
    assert found.column_names == ["query", "document", "label", "score"]
    assert found["score"][0] == 406.0
    found = score_with_teacher(rows, Counting(), TeacherOptions(column="teacher"))
    assert found.column_names == ["query", "document", "teacher"]


@pytest.mark.parametrize("kind", ["encoder", "language model"])
def test_cross_encoders_give_logits(kind: str) -> None:
    teacher = encoder()
    if kind == "language model":
        teacher = CrossEncoder.from_transformers(*tiny_lm())
    scored = teacher.score(list(zip(PAIRS["query"], PAIRS["document"], strict=True)))
    rows = Dataset.from_dict(PAIRS)
    found = score_with_teacher(rows, teacher)["score"]
    np.testing.assert_allclose(found, scored.logits[:, 0], atol=1e-6)
    found = score_with_teacher(rows, teacher, TeacherOptions(raw=False))["score"]
    np.testing.assert_allclose(found, scored.scores, atol=1e-6)


def test_anything_with_predict() -> None:
    class Other:
        def predict(self, pairs: Any) -> torch.Tensor:
            return torch.arange(len(pairs), dtype=torch.bfloat16)[:, None]

    found = score_with_teacher(Dataset.from_dict(TUPLES), Other())
    assert sorted(score for row in found["scores"] for score in row) == [0.0, 1.0, 2.0, 3.0]


# --- the cache ---------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"q": [f"q{'x' * i}" for i in range(10)], "d": ["d"] * 10})
    options = TeacherOptions(cache_folder=tmp_path / "new", cache_key="c", pairs_per_save=3)
    stopped = Counting(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        score_with_teacher(rows, stopped, options)
    assert len(stopped.pairs) == 6
    again = Counting()
    found = score_with_teacher(rows, again, options)
    assert len(again.pairs) == 4
    assert not set(again.pairs) & set(stopped.pairs)
    assert list(found["score"]) == [100.0 * (i + 1) + 1 for i in range(10)]
    score_with_teacher(rows, third := Counting(), options)
    assert third.calls == []


def test_scores_of_another_teacher_are_not_taken(tmp_path: Path) -> None:
    rows = Dataset.from_dict(PAIRS)

    def run(teacher: Any, **options: Any) -> list[float]:
        return list(
            score_with_teacher(rows, teacher, TeacherOptions(cache_folder=tmp_path, **options))[
                "score"
            ]
        )

    first, second = encoder(0), encoder(1)
    expected = run(first)
    assert run(first) == expected
    assert run(encoder(0)) == expected
    assert run(second) != expected
    assert run(first, prompt="how ") != expected
    assert run(first, raw=False) != expected
    first.max_length = 4
    assert run(first) != expected
    first.max_length = 64
    with torch.no_grad():
        next(first.model.parameters()).add_(0.1)
    assert run(first) != expected
    assert run(Counting(), cache_key="a") == [406.0, 405.0, 406.0]
    assert run(lambda pairs: [0.0] * len(pairs), cache_key="b") == [0.0] * 3
    with pytest.raises(InputError, match="needs a cache_key"):
        run(Counting())


def test_a_cross_encoder_is_not_asked_again(tmp_path: Path, monkeypatch: Any) -> None:
    teacher = encoder()
    options = TeacherOptions(cache_folder=tmp_path)
    score_with_teacher(Dataset.from_dict(PAIRS), teacher, options)
    monkeypatch.setattr(type(teacher), "score", lambda *_, **__: pytest.fail("scored again"))
    score_with_teacher(Dataset.from_dict(PAIRS), teacher, options)


def test_a_damaged_cache(tmp_path: Path) -> None:
    (tmp_path / "teacher_scores.sqlite").write_text("no database " * 200)
    with pytest.raises(SaveError, match=r"teacher_scores\.sqlite"):
        score_with_teacher(
            Dataset.from_dict(PAIRS),
            Counting(),
            TeacherOptions(cache_folder=tmp_path, cache_key="x"),
        )


# --- refusals ----------------------------------------------------------------------------------


def test_what_cannot_be_scored() -> None:
    rows = Dataset.from_dict(PAIRS)
    with pytest.raises(InputTypeError, match="expected a CrossEncoder"):
        score_with_teacher(rows, 3)
    with pytest.raises(InputTypeError, match="found|expected a datasets"):
        score_with_teacher([("a", "b")], Counting())  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="streams"):
        score_with_teacher(rows.to_iterable_dataset(), Counting())
    with pytest.raises(EmptyDataError, match="no rows"):
        score_with_teacher(rows.select([]), Counting())
    with pytest.raises(ColumnError, match="expected a query"):
        score_with_teacher(rows.remove_columns("document"), Counting())
    with pytest.raises(ColumnError, match="expected a text, found 3"):
        score_with_teacher(Dataset.from_dict({"q": ["a"], "d": ["b"], "n": [3]}), Counting())
    with pytest.raises(InputError, match="one number per pair"):
        score_with_teacher(rows, lambda pairs: [1.0])
    with pytest.raises(InputError, match="prompt is for"):
        score_with_teacher(rows, Counting(), TeacherOptions(prompt="x"))
    with pytest.raises(InputError, match="pairs_per_save=0"):
        TeacherOptions(pairs_per_save=0)


def test_a_score_that_is_no_number_keeps_those_before(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"q": ["long query", "b"], "d": ["d", "e"]})
    options = TeacherOptions(cache_folder=tmp_path, cache_key="n", pairs_per_save=1)

    def broken(pairs: list[tuple[str, str]]) -> list[float]:
        return [1.0 if q == "long query" else float("nan") for q, _ in pairs]

    with pytest.raises(ScoreError, match="query 'b'"):
        score_with_teacher(rows, broken, options)
    teacher = Counting()
    score_with_teacher(rows, teacher, options)
    assert teacher.pairs == [("b", "e")]


# --- what it is for ----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["pairs", "tuples"])
def test_a_student_learns_from_a_language_model(tmp_path: Path, layout: str) -> None:
    teacher = CrossEncoder.from_transformers(*tiny_lm(), template="{query} {document}?")
    words = "sort list file date name open".split()
    queries = [f"how {a}" for a in words for _ in words]
    documents = [f"the {b}" for _ in words for b in words]
    columns = {"query": queries, "document": documents}
    if layout == "tuples":
        columns |= {"other": documents[1:] + documents[:1]}
    rows = score_with_teacher(Dataset.from_dict(columns), teacher)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student = CrossEncoder.from_transformers(*tiny_model("bert", seed=1, **still))
    loss = MSELoss(student) if layout == "pairs" else MarginMSELoss(student)
    args = CrossEncoderTrainingArguments(
        str(tmp_path),
        max_steps=30,
        learning_rate=2e-3,
        per_device_train_batch_size=12,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = CrossEncoderTrainer(student, args, train_dataset=rows, loss=loss)
    trainer.train()
    logs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(logs[-5:]) < 0.5 * np.mean(logs[:2])
