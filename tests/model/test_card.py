"""Model cards: what they show, what cannot break out of them, what they leave alone."""

from __future__ import annotations

import html
import logging
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rankwright import CrossEncoder
from rankwright.model.card import (
    ColumnFacts,
    CrossEncoderModelCardData,
    DatasetFacts,
    EmissionFacts,
    EvaluationFacts,
    LossFacts,
    MetricRow,
    render_card,
)
from rankwright.model.card.facts import names_of
from rankwright.model.card.files import CARD_FILE, GENERATED_FILE
from rankwright.model.card.markdown import block, code, hub_link, inline, one_line
from rankwright.model.card.plots import CURVES_FILE, GAINS_FILE, draw_plots
from rankwright.model.card.render import CardFacts, is_untouched
from rankwright.model.card.tables import MAX_LOG_ROWS, log_table
from tests.tiny import tiny_model

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def make(**options: Any) -> CrossEncoder:
    return CrossEncoder.from_transformers(*tiny_model("bert"), **options)


def facts(text: str = "x", **changes: Any) -> CardFacts:
    return CardFacts(
        **{
            "architecture": "BertForSequenceClassification",
            "parameters": 1234567,
            "num_labels": 1,
            "max_length": 64,
            "activation": "Sigmoid",
            "prompts": {text: text},
            "fusion": {"weight": 0.25, "normalisation": text, "first_stage": text},
            "location": text,
            "versions": {"torch": text},
        }
        | changes
    )


class Evaluator:
    def __init__(self, name: str = "dev", **config: Any) -> None:
        self.name = name
        self.config = config
        self.primary_metric = f"{name}_ndcg@10"
        self.description = "Reranking"

    def get_config_dict(self) -> dict[str, Any]:
        return self.config


def full(text: str = "x") -> CrossEncoderModelCardData:
    """Every field filled, with ``text`` wherever a text can stand."""
    dataset = DatasetFacts(
        name=text,
        id=None,
        revision=text,
        size=12345,
        columns=(ColumnFacts("query" + text, text, text), ColumnFacts(text, "text", text)),
        looked_at=100,
        samples=((text, text), (text, "plain")),
        loss=LossFacts(text, {text: text}, text),
    )
    data = CrossEncoderModelCardData(
        language=["en", text],
        license=text,
        model_name=text,
        base_model=text,
        train_datasets=[text, {"name": text, "id": text}],
        task_name=text,
        tags=[text],
        training_summary={text: text},
        hyperparameters={text: text},
        results=[MetricRow(text, text, 0.5, 0.25, text)],
        limits=[text],
        non_default_hyperparameters={text: text},
        all_hyperparameters={text: text},
        train_data=[dataset, dataset],
        eval_data=[dataset],
        losses=[dataset.loss or LossFacts("")],
        training_logs=[{"epoch": 0.5, "step": 1, "training_loss": 0.7, text: 0.5}],
        durations={text: 75.0},
        emissions=EmissionFacts(0.0123, 0.05, 0.5, text, text, 16.0, False),
        usage_examples=[(text, text)],
        widget=[{"text": text}],
    )
    data.set_evaluation_metrics(Evaluator(text, k=text), {f"{text}_{text}": 0.5}, -1, -1)
    return data


def split(card: str) -> tuple[dict[str, Any], str]:
    assert card.startswith("---\n")
    _, matter, body = re.split(r"^---$\n", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(matter), body


def structure(card: str) -> tuple[list[str], Counter[str]]:
    """Block tokens in order, and how many inline tokens there are of each kind that has effects."""
    _, body = split(card)
    blocks, inlines = [], Counter[str]()
    for token in MARKDOWN.parse(body):
        blocks.append(f"{token.type} {token.tag} {token.info}")
        if token.type == "html_block":
            blocks[-1] += re.sub(r"\(.*\)", "", token.content)
        for child in token.children or []:
            if child.type == "html_inline" and child.content in ("<code>", "</code>"):
                continue
            if child.type not in ("text", "code_inline", "softbreak", "text_special"):
                inlines[child.type] += 1
    return blocks, inlines


HOSTILE = [
    "| a | b |", "`", "```", "~~~", "---", "===", "# heading", "- item", "1. item", "> quote",
    "***", "__bold__", "_", "[link](javascript:alert(1))", "![x](y)", "<script>alert(1)</script>",
    "<!--",
    "-->", "</details>", "<b", "&amp;", "&#124;", "\\", "\\|", "$x$", "{{ 7 * 7 }}", "{% raw %}",
    "\n", "\n\n", "\r\n---\r\n", "\n---\n", "\n```\n", "\n| - |\n", "\u2028", "\u202e", "\x00",
    "\x85", "\ud800", "'", '"', '"""', "'''", "\t", ": ", "%TAG", "!!python/object", "*anchor", "é",
    "中文", "word", "http://x.y", "a@b.c",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=6).map("".join))
def test_no_text_changes_the_structure(text: str) -> None:
    # A data set on the hub or an empty name changes the structure on purpose.
    text = f"x {text} x"
    card = render_card(full(text), facts(text))
    assert structure(card) == structure(render_card(full("x y"), facts("x y")))
    card.encode("utf-8")
    matter, body = split(card)
    shown = one_line(text)
    assert matter["license"] == shown
    assert matter["tags"][-1] == shown
    assert matter["widget"] == [{"text": shown}]
    assert matter["model-index"][0]["name"] == shown
    heading = body.lstrip().splitlines()[0]
    assert html.unescape(heading.removeprefix("# ")) == shown
    for snippet in body.split("```python\n")[1:]:
        names: dict[str, Any] = {}
        lines = snippet.split("\n```")[0].splitlines()
        at = next(i for i, line in enumerate(lines) if "CrossEncoder(" in line)
        exec("def CrossEncoder(name): found.append(name)\nfound = []\n" + lines[at], names)
        assert names["found"] == [text.encode("utf-8", "replace").decode()]


@pytest.mark.parametrize("hostile", ["<b>x</b> y", "x\n\n# y", "x ![y](z)", "x\n- y", "x `y`\n```"])
def test_the_check_of_structure_can_fail(hostile: str) -> None:
    card = render_card(full("x y"), facts("x y"))
    start, _, rest = card.partition("## Limits")
    changed = start + "## Limits" + rest.replace("- x y\n", f"- {hostile}\n", 1)
    assert changed != card
    assert structure(changed) != structure(card)


def test_escaping() -> None:
    assert inline("a | b") == "a &#124; b"
    assert inline("snake_case and ndcg@10") == "snake_case and ndcg@10"
    assert inline("_hidden_") == "&#95;hidden&#95;"
    assert inline("# no heading") == "&#35; no heading"
    assert inline("1. one") == "1&#46; one"
    assert inline("0.123") == "0.123"
    assert inline(-0.5) == "-0.5"
    assert inline("- item") == "&#45; item"
    assert inline("---") == "&#45;--"
    assert inline("a" * 20, limit=5) == "aaaa…"
    assert inline(inline("a|b")) == "a&#124;b"
    assert code("learning_rate") == "`learning_rate`"
    assert code("a`b") == "<code>a&#96;b</code>"
    assert code("") == ""
    assert block("a\n````\nb") == "`````\na\n````\nb\n`````"
    assert hub_link("org/name") == "[org/name](https://huggingface.co/org/name)"
    assert hub_link("a) b](c") == "a) b&#93;(c"
    assert names_of(["a", {"name": "b", "id": "o/b"}, {"id": "o/c"}, {}]) == [
        ("a", None), ("b", "o/b"), ("o/c", "o/c"), ("", None),
    ]  # fmt: skip


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


# --- logs and pictures --------------------------------------------------------------------------


def test_the_log_is_thinned_evenly() -> None:
    data = CrossEncoderModelCardData(best_step=333)
    data.training_logs = [
        {"epoch": i / 1000, "step": i, "training_loss": 1 / (i + 1)}
        | ({"validation_loss": 0.5, "dev_ndcg@10": 0.25} if i % 40 == 0 else {})
        for i in range(1000)
    ]
    lines = log_table(data).splitlines()
    assert lines[0] == "| Epoch | Step | Training loss | Validation loss | dev_ndcg@10 |"
    steps = [int(line.split("|")[2].strip(" *")) for line in lines[2:]]
    assert len(steps) == MAX_LOG_ROWS
    assert {0, 333, 999} <= set(steps)
    assert set(range(0, 1000, 40)) <= set(steps)
    assert max(np.diff(steps)) <= 40
    assert "| **0.333** | **333** | **0.0030** | - | - |" in lines
    assert "rows at even distances" in render_card(data, facts())
    data.training_logs = data.training_logs[:5]
    assert len(log_table(data).splitlines()) == 7


def curves() -> CrossEncoderModelCardData:
    data = CrossEncoderModelCardData(training_summary={"rows": 1})
    data.training_logs = [
        {"epoch": i / 5, "step": i, "training_loss": 1 - i / 10, "_$x$ 中": i / 10}
        for i in range(5)
    ]
    data.results = [MetricRow("d $a_b$ <x>", "nDCG@10", 0.6, 0.4)]
    return data


def test_pictures_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    import matplotlib

    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    drawn = draw_plots(curves(), first)
    assert set(drawn) == {CURVES_FILE, GAINS_FILE}
    with matplotlib.rc_context({"axes.facecolor": "red", "text.usetex": True}):
        assert draw_plots(curves(), second) == drawn
    for name in drawn:
        content = (first / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert content == (second / name).read_bytes()
        assert len(content) > 2000
    other = curves()
    other.training_logs[2]["training_loss"] = 0.1
    draw_plots(other, second)
    assert (first / CURVES_FILE).read_bytes() != (second / CURVES_FILE).read_bytes()
    assert (first / GAINS_FILE).read_bytes() == (second / GAINS_FILE).read_bytes()


def test_nothing_to_draw(tmp_path: Path) -> None:
    data = CrossEncoderModelCardData(results=[MetricRow("d", "m", 0.5)])
    data.training_logs = [{"epoch": 1.0, "step": 1, "training_loss": 0.5}]  # a point is no curve
    assert draw_plots(data, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.INFO, "rankwright"):
        make(model_card_data=curves()).save_pretrained(tmp_path / "m")
    assert "rankwright[plots]" in caplog.text
    assert ".png" not in (tmp_path / "m" / CARD_FILE).read_text(encoding="utf-8")
    assert not list((tmp_path / "m").glob("*.png"))


def test_a_drawing_that_fails_costs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import rankwright.model.card.plots as plots

    def fail(*args: Any) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(plots, "_draw_gains", fail)
    make(model_card_data=curves()).save_pretrained(tmp_path)
    assert "no fonts" in caplog.text
    assert (tmp_path / "model.safetensors").is_file()
    assert CURVES_FILE in (tmp_path / CARD_FILE).read_text(encoding="utf-8")


def test_pictures_come_and_go_with_their_card(tmp_path: Path) -> None:
    model = make(model_card_data=curves())
    model.save_pretrained(tmp_path / "a")
    text = (tmp_path / "a" / CARD_FILE).read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\((.+?)\)", text)
    assert sorted(shown) == sorted(p.name for p in (tmp_path / "a").glob("*.png"))
    assert len(shown) == 2
    # A model that is only loaded and saved keeps its card, with all that belongs to it.
    CrossEncoder(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in (CARD_FILE, *shown):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    model.save_pretrained(tmp_path / "a", create_model_card=False)
    assert len(list((tmp_path / "a").glob("*.png"))) == 2
    make().save_pretrained(tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.png"))


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
