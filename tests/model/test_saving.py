from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from rankwright.errors import InputError, MissingDependencyError, SaveError
from rankwright.model import CrossEncoder, CrossEncoderModelCardData, MetricRow, read_layout
from tests.tiny import save_tiny, tiny_model

PAIRS = [("how do i sort", "sort a list of files by size"), ("open", "close the file"), ("a", "b")]
FILES = {
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "rankwright.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def make(**options: Any) -> CrossEncoder:
    labels = options.pop("num_labels", 1)
    return CrossEncoder.from_transformers(*tiny_model("bert", num_labels=labels), **options)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_round_trip(tmp_path: Path, num_labels: int) -> None:
    model = make(
        num_labels=num_labels,
        activation_fn=torch.nn.LeakyReLU(0.3),
        max_length=31,
        prompts={"ask": "query how "},
        default_prompt_name="ask",
    )
    model.fusion = {"weight": 0.2, "normalisation": "z-score", "first_stage": "bm25"}
    model.save_pretrained(tmp_path / "model")
    assert {file.name for file in (tmp_path / "model").iterdir()} == FILES
    again = CrossEncoder(tmp_path / "model")
    assert again.contract == model.contract
    np.testing.assert_array_equal(again.predict(PAIRS), model.predict(PAIRS))
    assert read_layout(tmp_path / "model").name == "Rankwright"
    assert again.tokenizer.model_max_length == 31


def test_every_reader_finds_the_activation(tmp_path: Path) -> None:
    make(activation_fn="identity", max_length=40).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    name = "torch.nn.modules.linear.Identity"
    assert config["sentence_transformers"] == {"activation_fn": name, "version": "4.0.0"}
    peer = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
    assert (peer["activation_fn"], peer["model_type"]) == (name, "CrossEncoder")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 40
    (tmp_path / "rankwright.json").unlink()
    assert CrossEncoder(tmp_path).contract.activation.name == "Identity"  # type: ignore[union-attr]
    (tmp_path / "config_sentence_transformers.json").unlink()
    (tmp_path / "modules.json").unlink()
    assert read_layout(tmp_path).name == "Sentence Transformers 4.0 to 5.3"
    assert CrossEncoder(tmp_path).contract.activation.name == "Identity"  # type: ignore[union-attr]


def test_no_stale_activation_remains(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    config["sbert_ce_default_activation_function"] = "torch.nn.modules.linear.Identity"
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config.json").write_text(json.dumps(config))
    model = CrossEncoder(folder)
    model.activation_fn = torch.nn.Tanh()
    model.save(tmp_path / "new")
    saved = (tmp_path / "new" / "config.json").read_text()
    assert "Identity" not in saved
    assert "sbert_ce" not in saved
    assert "activation.Tanh" in saved


def test_lost_parameters_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(activation_fn=torch.nn.LeakyReLU(0.3)).save(tmp_path / "a")
    assert "LeakyReLU(negative_slope=0.3)" in caplog.text
    caplog.clear()
    make(activation_fn=torch.nn.LeakyReLU()).save(tmp_path / "b")
    assert caplog.text == ""


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    model = make(activation_fn=lambda x: x / 2)
    model.predict(PAIRS)
    for act in (model.check_savable, lambda: model.save(tmp_path / "model")):
        with pytest.raises(InputError, match="cannot be saved"):
            act()
    with pytest.raises(InputError, match="pickle"):
        make().save_pretrained(tmp_path / "model", safe_serialization=False)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_another_model(tmp_path: Path) -> None:
    big, tokenizer = tiny_model("bert", seed=5)
    big.save_pretrained(tmp_path, max_shard_size="40KB")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text('{"cls_token": "a"}')
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "results.csv").write_text("1")
    model = make()
    model.save(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == FILES | {"trainer_state.json", "eval"}
    np.testing.assert_array_equal(CrossEncoder(tmp_path).predict(PAIRS), model.predict(PAIRS))


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("step", ["weights", "json", "config"])
def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existing: bool
) -> None:
    target = tmp_path / "model"
    old = make(max_length=20, activation_fn="identity")
    if existing:
        old.save(target)
    before = {f.name: f.read_bytes() for f in target.iterdir()} if existing else None
    new = make(max_length=30)
    new.model.classifier.bias.data.add_(1.0)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise full

    if step == "weights":
        from safetensors import SafetensorError

        def refuse_tensors(*args: Any, **kwargs: Any) -> None:
            raise SafetensorError("I/O error: No space left on device (os error 28)")

        monkeypatch.setattr("transformers.modeling_utils.safe_save_file", refuse_tensors)
    elif step == "json":
        monkeypatch.setattr("rankwright.model.saving._dump", refuse)
    else:
        monkeypatch.setattr(new.tokenizer, "save_pretrained", refuse)
    with pytest.raises(SaveError, match="No space left"):
        new.save(target)
    assert [p.name for p in tmp_path.iterdir()] == (["model"] if existing else [])
    if existing:
        assert {f.name: f.read_bytes() for f in target.iterdir()} == before
        np.testing.assert_array_equal(CrossEncoder(target).predict(PAIRS), old.predict(PAIRS))


def test_plain_transformers_reads_the_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = make(num_labels=3, max_length=24)
    model.save(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for pair, expected in zip(PAIRS, model.score(PAIRS).logits, strict=True):
        with torch.inference_mode():
            logits = plain(**tokenizer(*pair, truncation=True, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)
    assert set(load_file(tmp_path / "model.safetensors")) == set(plain.state_dict())


def split_card(path: Path) -> tuple[dict[str, Any], str]:
    _, matter, body = (path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(matter), body


def test_card(tmp_path: Path) -> None:
    data = CrossEncoderModelCardData(
        language=["en", "de"],
        license="apache-2.0",
        model_name='Finds "files" | fast',
        base_model="microsoft/MiniLM-L12-H384-uncased",
        train_datasets=["our logs", {"name": "GooAQ", "id": "sentence-transformers/gooaq"}],
        tags=["reranker", "shell"],
        training_summary={"queries": 1500, "loss": "BinaryCrossEntropyLoss"},
        hyperparameters={"learning_rate": 5e-05, "epochs": 1},
        results=[MetricRow("nl2bash test", "nDCG@10", 0.4104, 0.3182, "300 queries, p = 0.001")],
        limits=["Trained on shell commands only."],
    )
    model = make(model_card_data=data, prompts={"ask": "q: "})
    model.fusion = {"weight": 0.25, "normalisation": "min-max", "first_stage": "bm25"}
    model.save(tmp_path)
    matter, body = split_card(tmp_path)
    assert matter["tags"] == [
        "sentence-transformers",
        "cross-encoder",
        "reranker",
        "rankwright",
        "shell",
    ]
    assert matter["pipeline_tag"] == "text-ranking"
    assert matter["library_name"] == "sentence-transformers"
    assert matter["base_model"] == "microsoft/MiniLM-L12-H384-uncased"
    assert matter["language"] == ["en", "de"]
    assert matter["datasets"] == ["sentence-transformers/gooaq"]
    metric = matter["model-index"][0]["results"][0]["metrics"][0]
    assert metric == {"type": "ndcg@10", "value": 0.4104, "name": "nDCG@10"}
    assert "| nl2bash test | nDCG@10 | 0.3182 | 0.4104 | 300 queries, p = 0.001 |" in body
    assert "| `learning_rate` | 5e-05 |" in body
    gooaq = "https://huggingface.co/datasets/sentence-transformers/gooaq"
    assert f"our logs, [GooAQ]({gooaq})" in body
    assert "25 % first stage (bm25)" in body
    assert "Trained on shell commands only." in body
    assert "from rankwright import CrossEncoder" in body
    assert "from sentence_transformers import CrossEncoder" in body
    assert str(tmp_path) not in body


def test_card_of_a_classifier_and_snippets_hold(tmp_path: Path) -> None:
    make(num_labels=3).save_pretrained(tmp_path / "it's", model_name="Three")
    matter, body = split_card(tmp_path / "it's")
    assert matter["pipeline_tag"] == "text-classification"
    assert body.lstrip().startswith("# Three\n")
    assert ".rank(" not in body
    for snippet in body.split("```python\n")[1:]:
        compile(snippet.split("```")[0], "snippet", "exec")


def test_card_can_be_checked_by_the_hub_client(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    make(model_card_data=CrossEncoderModelCardData(results=[MetricRow("d", "MRR@10", 0.5)])).save(
        tmp_path
    )
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.eval_results[0].metric_value == 0.5
    assert card.data.pipeline_tag == "text-ranking"


def test_card_of_a_loaded_model(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    (folder / "README.md").write_text("# By hand\n")
    model = CrossEncoder(folder)
    model.save(tmp_path / "same")
    assert (tmp_path / "same" / "README.md").read_text() == "# By hand\n"
    model.save_pretrained(tmp_path / "none", create_model_card=False)
    assert not (tmp_path / "none" / "README.md").exists()
    model.model_card_data.training_summary["queries"] = 3
    model.save(tmp_path / "trained")
    assert "By hand" not in (tmp_path / "trained" / "README.md").read_text()


def test_no_path_of_this_machine_in_the_card(tmp_path: Path) -> None:
    model = CrossEncoder(save_tiny(tmp_path / "base"))
    card = model.model_card()
    assert "based on base" in card
    assert str(tmp_path) not in card
    assert "base_model:" not in card


def test_card_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from rankwright.model.card.render import _template

    _template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"rankwright\[train\]"):
        make().model_card()


def test_evaluate(tmp_path: Path) -> None:
    model = make()

    def evaluator(given: CrossEncoder, output_path: str | None = None) -> dict[str, float]:
        assert given is model
        assert output_path is not None
        assert Path(output_path).is_dir()
        return {"ndcg@10": 0.5}

    assert model.evaluate(evaluator, str(tmp_path / "eval")) == {"ndcg@10": 0.5}


def test_loading_and_saving_are_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    make().save(tmp_path / "model")
    CrossEncoder(tmp_path / "model")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert caplog.text == ""
    from transformers.utils import logging as transformers_logging

    assert transformers_logging.is_progress_bar_enabled()
