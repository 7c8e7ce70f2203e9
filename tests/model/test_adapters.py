from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

from rankwright.errors import (
    ConfigError,
    InputError,
    InputTypeError,
    ModelError,
    ModelNotFoundError,
    UnsafeModelError,
    WeightsError,
)
from rankwright.model import CrossEncoder
from tests.tiny import FAMILIES, save_tiny, tiny_model

PAIRS = [("how do i sort", "sort a list of files by size"), ("open", "close the file"), ("a", "b")]


# Raised by peft.get_peft_model itself.
PEFT_IS_OLDER = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def lora(**options: Any) -> peft.LoraConfig:
    """An adapter that changes the scores from the start."""
    return peft.LoraConfig(**{"r": 3, "init_lora_weights": False} | options)


def changed(model: CrossEncoder) -> CrossEncoder:
    """As after training: everything that may be trained is somewhere else."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "base")


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_reloaded_and_merged(tmp_path: Path, family: str) -> None:
    """Starts from an encoder without a head: the new head must travel with the adapter."""
    encoder, tokenizer = tiny_model(family)
    encoder.base_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    if family == "bert":  # as masked language models come: without a pooler
        AutoModel.from_pretrained(tmp_path / "base", add_pooling_layer=False).save_pretrained(
            tmp_path / "base"
        )
    model = CrossEncoder(
        tmp_path / "base", num_labels=1, max_length=33, activation_fn="identity", seed=1,
        prompts={"ask": "query how "}, default_prompt_name="ask",
    )  # fmt: skip
    plain = model.predict(PAIRS)
    model.add_adapter(lora(target_modules="all-linear"))
    changed(model)
    expected = model.predict(PAIRS)
    assert model.scorer.packed
    assert np.abs(expected - plain).max() > 0.05

    model.save_pretrained(tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json"} <= names
    assert not any(name.startswith("model") and name != "modules.json" for name in names)
    again = CrossEncoder(tmp_path / "adapter")
    assert again.contract == model.contract
    np.testing.assert_array_equal(again.predict(PAIRS), expected)

    again.merge_and_unload()
    # Random weights are sharp: rounding now and then grows to 5e-4, a merge gone wrong to 0.05.
    np.testing.assert_allclose(again.predict(PAIRS), expected, atol=2e-3)
    assert all(parameter.requires_grad for parameter in again.parameters())
    again.save_pretrained(tmp_path / "adapter")  # over the adapter: nothing of it may stay
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert not any(name.startswith("adapter") for name in names)
    whole = CrossEncoder(tmp_path / "adapter")
    np.testing.assert_array_equal(whole.predict(PAIRS), again.predict(PAIRS))
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert set(reference.state_dict()) == set(whole.model.state_dict())


@PEFT_IS_OLDER
def test_the_new_head_is_no_news_when_the_adapter_brings_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, tokenizer = tiny_model("bert")
    encoder.base_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = CrossEncoder(tmp_path / "base", num_labels=1)
    model.add_adapter(lora())
    model.save_pretrained(tmp_path / "adapter")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="rankwright"):
        CrossEncoder(tmp_path / "adapter")
    assert "head" not in caplog.text
    # PEFT by itself would leave the head out.
    bare = peft.get_peft_model(CrossEncoder(tmp_path / "base", num_labels=1).model, lora())
    bare.save_pretrained(tmp_path / "headless")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="rankwright"):
        CrossEncoder(tmp_path / "headless", base_model=tmp_path / "base")
    assert "scores are random" in caplog.text


@PEFT_IS_OLDER
def test_peft_reads_what_is_written_and_its_folders_are_read(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    model.add_adapter(lora())
    changed(model).save_pretrained(tmp_path / "adapter")
    plain = AutoModelForSequenceClassification.from_pretrained(base)
    theirs = CrossEncoder.from_transformers(
        peft.PeftModel.from_pretrained(plain, tmp_path / "adapter"), model.tokenizer
    )
    np.testing.assert_allclose(theirs.predict(PAIRS), model.predict(PAIRS), atol=1e-4)

    wrapped = CrossEncoder(base)
    wrapped.model = peft.get_peft_model(wrapped.model, lora(task_type="SEQ_CLS"))
    changed(wrapped)
    wrapped.model.save_pretrained(tmp_path / "peft")
    assert not (tmp_path / "peft" / "config.json").exists()
    found = CrossEncoder(tmp_path / "peft")
    np.testing.assert_array_equal(found.predict(PAIRS), wrapped.predict(PAIRS))
    wrapped.save_pretrained(tmp_path / "ours")
    found = CrossEncoder(tmp_path / "ours")
    np.testing.assert_array_equal(found.predict(PAIRS), wrapped.predict(PAIRS))
    wrapped.merge_and_unload()
    assert type(wrapped.model).__name__ == "BertForSequenceClassification"
    np.testing.assert_allclose(wrapped.predict(PAIRS), found.predict(PAIRS), atol=1e-3)


def test_the_base_can_be_named_anew(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    model.add_adapter(lora())
    changed(model).save_pretrained(tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(base)
    shutil.move(base, tmp_path / "moved")
    with pytest.raises(ModelNotFoundError, match="base_model="):
        CrossEncoder(tmp_path / "adapter")
    found = CrossEncoder(tmp_path / "adapter", base_model=tmp_path / "moved")
    np.testing.assert_array_equal(found.predict(PAIRS), model.predict(PAIRS))
    onto = CrossEncoder(tmp_path / "moved")
    onto.load_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(onto.predict(PAIRS), model.predict(PAIRS))
    assert not any(p.requires_grad for n, p in onto.named_parameters() if ".default." in n)


def test_several_adapters(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    plain = model.predict(PAIRS)
    scores = {}
    for name in ("one", "two"):
        model.add_adapter(lora(), name)
        changed(model)
        assert model.active_adapter() == name
        scores[name] = model.predict(PAIRS)
        model.save_pretrained(tmp_path / name)
    assert not np.allclose(scores["one"], scores["two"], atol=1e-3)
    model.set_adapter("one")
    np.testing.assert_array_equal(model.predict(PAIRS), scores["one"])
    assert any("lora" in name for name in model.get_adapter_state_dict("two"))
    model.disable_adapters()
    # Layers with an adapter, even an idle one, run in PyTorch; plain ones may run compiled.
    np.testing.assert_allclose(model.predict(PAIRS), plain, atol=1e-6)
    model.enable_adapters()
    np.testing.assert_array_equal(model.predict(PAIRS), scores["one"])
    model.set_adapter("two")
    model.delete_adapter("one")
    np.testing.assert_array_equal(model.predict(PAIRS), scores["two"])
    with pytest.raises(InputError, match="no adapter 'one'"):
        model.delete_adapter("one")
    model.delete_adapter("two")
    np.testing.assert_array_equal(model.predict(PAIRS), plain)
    assert all(p.requires_grad for p in model.model.parameters())
    assert not [m for m in model.model.modules() if type(m).__module__.startswith("peft")]
    for name in ("one", "two"):
        np.testing.assert_array_equal(CrossEncoder(tmp_path / name).predict(PAIRS), scores[name])


def test_an_adapter_put_in_behind_the_back_counts(base: Path) -> None:
    model = CrossEncoder(base)
    plain = model.predict(PAIRS)
    model.model.add_adapter(lora())
    assert np.abs(model.predict(PAIRS) - plain).max() > 1e-3


def test_the_configuration_of_the_caller_is_not_changed(base: Path) -> None:
    config = lora(modules_to_save=["classifier"])
    before = config.to_dict()
    model = CrossEncoder(base)
    model.add_adapter(config)
    assert config.to_dict() == before
    assert model.model.peft_config["default"].modules_to_save == ["classifier", "pooler"]


def test_mistakes(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    for act in (model.merge_and_unload, model.active_adapters, model.disable_adapters):
        with pytest.raises(InputError, match="has no adapter"):
            act()
    with pytest.raises(InputTypeError, match="LoraConfig"):
        model.add_adapter({"r": 8})
    with pytest.raises(InputError, match="'value'"):
        model.add_adapter(lora(target_modules=["Wqkv"]))
    with pytest.raises(InputError, match="base_model"):
        CrossEncoder(base, base_model=base)
    model.add_adapter(lora())
    with pytest.raises(InputError, match="another name"):
        model.add_adapter(lora())
    model.add_adapter(lora(), "second")
    with pytest.raises(InputError, match="one head"):
        model.set_adapter(["default", "second"])
    assert model.active_adapters() == ["second"]
    with pytest.raises(InputError, match="no adapter 'third'"):
        model.set_adapter("third")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda c, p: c.pop("peft_type"), ConfigError, "peft_type"),
        (lambda c, p: c.update(megatron_config={"a": 1}), UnsafeModelError, "import a module"),
        (lambda c, p: c.update(base_model_name_or_path=None), ModelError, "for which model"),
        (lambda c, p: c.update(base_model_name_or_path=str(p)), ModelError, "adapter itself"),
        (lambda c, p: c.update(r=5), WeightsError, "another base model or num_labels"),
        (lambda c, p: c.update(target_modules=["value"]), WeightsError, "in the file only"),
        (lambda c, p: (p / "adapter_model.safetensors").unlink(), WeightsError, "has no"),
        (
            lambda c, p: (p / "adapter_model.safetensors").rename(p / "adapter_model.bin"),
            UnsafeModelError,
            "pickle",
        ),
        (
            lambda c, p: (p / "adapter_model.safetensors").write_bytes(b"12345678901"),
            WeightsError,
            "truncated",
        ),
        (
            lambda c, p: (p / "model.safetensors").write_bytes(b""),
            ModelError,
            "both an adapter",
        ),
    ],
)
def test_broken_folders(
    tmp_path: Path, base: Path, spoil: Any, error: type[Exception], words: str
) -> None:
    model = CrossEncoder(base)
    model.add_adapter(lora())
    folder = tmp_path / "adapter"
    model.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    spoil(config, folder)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=words):
        CrossEncoder(folder)


def test_a_failed_load_leaves_the_model_as_it_was(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    model.add_adapter(lora())
    model.save_pretrained(tmp_path / "adapter")
    other = CrossEncoder(save_tiny(tmp_path / "wide", hidden_size=64))
    before = other.predict(PAIRS)
    with pytest.raises(WeightsError, match="another base model"):
        other.load_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(other.predict(PAIRS), before)
    assert not [m for m in other.model.modules() if type(m).__module__.startswith("peft")]
    assert all(p.requires_grad for p in other.model.parameters())
    with pytest.raises(InputError, match="has no adapter"):
        other.active_adapters()


def test_only_trained_tensors_are_saved(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    model.add_adapter(lora())
    model.save_pretrained(tmp_path / "adapter")
    names = {
        n.removeprefix("base_model.model.")
        for n in load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    }
    assert all("lora_" in n or n.startswith(("classifier.", "bert.pooler.")) for n in names)
    assert sum("lora_" in n for n in names) == 2 * 2 * 3  # A and B, query and value, three layers


@pytest.mark.peer
def test_the_peer_scores_alike_with_a_merged_model(tmp_path: Path, base: Path) -> None:
    peer = pytest.importorskip("sentence_transformers")
    model = CrossEncoder(base)
    model.add_adapter(lora())
    changed(model).merge_and_unload()
    model.save_pretrained(tmp_path / "merged")
    theirs = peer.CrossEncoder(str(tmp_path / "merged"), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), model.predict(PAIRS), atol=1e-5)
