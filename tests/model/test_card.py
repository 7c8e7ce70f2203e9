"""Model cards: what they show, and what they leave alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from rankwright.model.card import (
    ColumnFacts,
    CrossEncoderModelCardData,
    DatasetFacts,
    EvaluationFacts,
    MetricRow,
    render_card,
)
from rankwright.model.card.files import CARD_FILE, GENERATED_FILE
from rankwright.model.card.render import is_untouched
from tests.model.cards import Evaluator, facts, full, make, split

# --- what the hub reads -------------------------------------------------------------------------


def test_the_hub_client_reads_the_front_matter(tmp_path: Path) -> None:
    data = full("word")
    data.train_data = [DatasetFacts("gooaq", "sentence-transformers/gooaq", "abc", 10)]
    data.train_datasets = []
    data.results = [MetricRow("a set", "nDCG@10", 0.75, 0.5), MetricRow("b", "MRR", math.nan)]
    card = ModelCard(render_card(data, facts()))
    parsed = card.data.to_dict()
    assert parsed["datasets"] == ["sentence-transformers/gooaq"]
    assert parsed["co2_eq_emissions"] == {
        "emissions": 12.3,
        "energy_consumed": 0.05,
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "on_cloud": False,
        "cpu_model": "word",
        "ram_total_size": 16.0,
        "hours_used": 0.5,
        "hardware_used": "word",
    }
    found = {(r.dataset_name, r.metric_name, r.metric_value) for r in card.data.eval_results}
    assert found == {("a set", "nDCG@10", 0.75), ("word", "word", 0.5)}
    assert parsed["metrics"] == ["nDCG@10", "word"]
    assert "[gooaq](https://huggingface.co/datasets/sentence-transformers/gooaq)" in card.text


def test_a_card_nobody_filled_in() -> None:
    card = render_card(CrossEncoderModelCardData(), facts("x", prompts={}, fusion=None))
    matter, body = split(card)
    assert set(matter) == {"tags", "pipeline_tag", "library_name"}
    for title in ("Training", "Results", "Citation", "Log"):
        assert f"# {title}" not in body
    assert "text reranking and semantic search" in body
    several = render_card(CrossEncoderModelCardData(), facts(num_labels=3))
    assert "text pair classification" in several
    assert split(several)[0]["pipeline_tag"] == "text-classification"


def test_setters() -> None:
    data = CrossEncoderModelCardData()
    data.set_language("de")
    data.set_license("mit")
    data.set_model_id("me/mine")
    data.add_tags("one")
    data.add_tags(["one", "two"])
    data.add_results("test", {"MRR@10": 0.5}, "note")
    assert (data.language, data.license, data.model_id) == ("de", "mit", "me/mine")
    assert data.tags == ["one", "two"]
    assert data.results == [MetricRow("test", "MRR@10", 0.5, None, "note")]


# --- evaluations --------------------------------------------------------------------------------


def read(data: CrossEncoderModelCardData) -> list[str]:
    table = split(render_card(data, facts()))[1].split("Measured by")[1].split("\n\n")[1]
    return table.splitlines()


def test_evaluations_before_and_after_training() -> None:
    data = CrossEncoderModelCardData()
    evaluator = Evaluator()

    def measured(value: float, epoch: float, step: int) -> None:
        metrics = {"dev_ndcg@10": f"{value:.4f} ({value - 0.3:+.4f})", "dev_map": value / 2}
        data.set_evaluation_metrics(evaluator, metrics, epoch, step)

    assert not data.says_something
    measured(0.4, -1, -1)
    assert not data.says_something  # measuring a model does not make it another one
    assert read(data) == [
        "| Metric | First stage | This model |",
        "| --- | ---: | ---: |",
        "| **ndcg@10** | **0.3000** | **0.4000** |",
        "| map |  | 0.2000 |",
    ]
    measured(0.6, 1.0, 10)
    measured(0.5, 2.0, 20)
    data.training_summary["rows"] = 5
    assert read(data)[2] == "| **ndcg@10** | **0.3000** | **0.4000** | **0.5000** |"
    data.best_step = 10
    assert read(data)[2] == "| **ndcg@10** | **0.3000** | **0.4000** | **0.6000** |"
    measured(0.61, -1, -1)
    assert read(data)[2] == "| **ndcg@10** | **0.3000** | **0.4000** | **0.6100** |"
    measured_elsewhere = Evaluator("test", at_k=5)
    data.set_evaluation_metrics(measured_elsewhere, {"test_ndcg@10": 0.7}, 1, 10)
    assert [e.dataset for e in data.evaluations] == ["dev", "test"]
    rows = {(r.dataset, r.metric): r for r in map(_as_row, _index(data))}
    assert rows["dev", "ndcg@10"].value == 0.61
    assert rows["test", "ndcg@10"].value == 0.7


def _index(data: CrossEncoderModelCardData) -> list[Any]:
    return list(ModelCard(render_card(data, facts())).data.eval_results)


def _as_row(result: Any) -> MetricRow:
    return MetricRow(result.dataset_name, result.metric_name, result.metric_value)


def test_a_first_evaluation_in_training_is_no_value_before_it() -> None:
    found = EvaluationFacts("E", "E", "", {})
    found.add({"a": 0.5, "note": "text"}, 1.0, 4)
    found.add({"a": 0.6}, 2.0, 8)
    assert found.before(None) == {}
    assert found.now(None) == {"a": 0.6}
    assert found.now(4) == {"a": 0.5}
    assert found.now(99) == {"a": 0.6}


# --- the usage example --------------------------------------------------------------------------


def test_the_usage_example_runs_and_shows_true_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [("sort 'files' ```", "sort a list\nof files"), ("sort", 'the "table"')]
    data = CrossEncoderModelCardData(usage_examples=examples)
    model = make(model_card_data=data)
    model.save_pretrained(tmp_path / "it's mine")
    card = (tmp_path / "it's mine" / CARD_FILE).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    snippet = card.split("```python\n")[1].split("\n```")[0]
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["pairs"] == examples
    expected = model.predict(examples)
    np.testing.assert_allclose(names["scores"], expected, atol=1e-6)
    assert f"# {expected.astype(float).round(4).tolist()}" in snippet
    assert [r["corpus_id"] for r in names["ranking"]] == [
        r["corpus_id"] for r in model.rank(examples[0][0], [d for _, d in examples])
    ]


def test_no_scores_where_the_model_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = CrossEncoderModelCardData(usage_examples=[("secret", "words")])
    data.train_data = [DatasetFacts("d", size=1, columns=(ColumnFacts("q", "text"),),
                                    looked_at=1, samples=(("secret",),))]  # fmt: skip
    model = make(model_card_data=data)
    asked: list[Any] = []
    predict = model.predict

    def counted(pairs: Any, **options: Any) -> Any:
        asked.append(pairs)
        return predict(pairs, **options)

    monkeypatch.setattr(model, "predict", counted, raising=False)
    assert "# [" not in model.model_card()
    model.save_pretrained(tmp_path, create_model_card=False)
    assert asked == []
    model.save_pretrained(tmp_path)
    assert len(asked) == 1
    data.generate_widget_examples = False
    model.save_pretrained(tmp_path)
    assert len(asked) == 1
    assert "secret" not in (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    data.generate_widget_examples = True

    def broken(pairs: Any, **options: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "predict", broken, raising=False)
    model.save_pretrained(tmp_path)
    assert "out of memory" in caplog.text
    assert "secret" in (tmp_path / CARD_FILE).read_text(encoding="utf-8")


# --- cards that somebody has edited -------------------------------------------------------------


def test_an_edited_card_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make(model_card_data=CrossEncoderModelCardData(license="mit"))
    model.save_pretrained(tmp_path)
    card = tmp_path / CARD_FILE
    made = card.read_text(encoding="utf-8")
    assert is_untouched(made)
    assert not is_untouched(made.replace("mit", "MIT"))
    assert not is_untouched("# By hand\n")
    model.model_card_data.license = "apache-2.0"
    model.save_pretrained(tmp_path)  # nobody has touched it
    assert "apache-2.0" in card.read_text(encoding="utf-8")
    assert caplog.text == ""
    edited = card.read_text(encoding="utf-8") + "\nMore that I know.\n"
    card.write_text(edited, encoding="utf-8")
    model.model_card_data.license = "bsd"
    model.save_pretrained(tmp_path)
    assert card.read_text(encoding="utf-8") == edited
    assert "license: bsd" in (tmp_path / GENERATED_FILE).read_text(encoding="utf-8")
    assert "is kept as it is" in caplog.text
    caplog.clear()
    (tmp_path / GENERATED_FILE).replace(card)  # the user takes the new one after all
    model.save_pretrained(tmp_path)
    assert not (tmp_path / GENERATED_FILE).exists()
    assert caplog.text == ""


def test_a_card_from_elsewhere_is_kept(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text("# Somebody else's\n", encoding="utf-8")
    make().save_card(tmp_path)
    assert (tmp_path / CARD_FILE).read_text(encoding="utf-8") == "# Somebody else's\n"
    assert is_untouched((tmp_path / GENERATED_FILE).read_text(encoding="utf-8"))
