"""A trained adapter as a part of the weights: a plain folder, which needs no peft to be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from rankwright import CrossEncoder, CrossEncoderTrainer
from tests.tiny import tiny_model
from tests.training.runs import arguments
from tests.training.stub import rows

PAIRS = [(row["query"], row["document"]) for row in rows(6, 5)]

PLAIN = """
import json, sys
sys.modules["peft"] = sys.modules["rankwright"] = sys.modules["sentence_transformers"] = None
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, pairs = sys.argv[1], json.loads(sys.argv[2])
model, found = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer(*map(list, zip(*pairs)), padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model.eval()(**inputs).logits[:, 0].tolist()
print(json.dumps({"logits": logits, "missing": sorted(found["missing_keys"])}))
"""


def read_plainly(folder: Path) -> dict[str, Any]:
    """What transformers makes of a folder in a process without peft and without this library."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), json.dumps(PAIRS)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def trained(tmp_path: Path, config: Any, family: str = "bert") -> CrossEncoder:
    """From an encoder without a head, so that a lost head could not score right."""
    encoder, tokenizer = tiny_model(family)
    encoder.base_model.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    model = CrossEncoder(tmp_path / "encoder", num_labels=1, seed=3, activation_fn="identity")
    args = arguments(tmp_path / "run", learning_rate=2e-2, num_train_epochs=3)
    CrossEncoderTrainer(model=model, args=args, train_dataset=rows(24), peft_config=config).train()
    return model


CONFIGS = {
    "lora": peft.LoraConfig(r=3, lora_alpha=12, target_modules="all-linear"),
    "rank-stabilised, with biases": peft.LoraConfig(
        r=3, use_rslora=True, bias="lora_only", target_modules=["query", "dense"]
    ),
    "dora": peft.LoraConfig(r=3, use_dora=True, target_modules=["query", "value"]),
    "embeddings": peft.LoraConfig(r=3, target_modules=["word_embeddings", "value"]),
    "ia3": peft.IA3Config(target_modules=["key", "value"], feedforward_modules=[]),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_scores_are_the_same_before_and_after(tmp_path: Path, kind: str) -> None:
    model = trained(tmp_path, CONFIGS[kind])
    start = CrossEncoder(tmp_path / "encoder", num_labels=1, seed=3, activation_fn="identity")
    expected = model.predict(PAIRS)
    assert np.abs(expected - start.predict(PAIRS)).max() > 0.01
    head = model.get_adapter_state_dict()
    (name,) = [n for n in head if n.endswith("classifier.weight")]
    model.merge_and_unload()
    np.testing.assert_allclose(model.predict(PAIRS), expected, atol=2e-5)
    assert torch.equal(model.model.classifier.weight, head[name])
    assert not torch.equal(model.model.classifier.weight, start.model.classifier.weight)
    assert set(model.model.state_dict()) == set(start.model.state_dict())
    model.save_pretrained(tmp_path / "merged")
    np.testing.assert_array_equal(
        CrossEncoder(tmp_path / "merged").predict(PAIRS), model.predict(PAIRS)
    )


def test_the_folder_is_read_without_peft(tmp_path: Path) -> None:
    model = trained(tmp_path, CONFIGS["lora"])
    expected = model.predict(PAIRS)
    model.save_pretrained(tmp_path / "adapter")
    reloaded = CrossEncoder(tmp_path / "adapter")
    reloaded.merge_and_unload()
    reloaded.save_pretrained(tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("adapter*"))
    found = read_plainly(tmp_path / "merged")
    assert found["missing"] == []
    np.testing.assert_allclose(found["logits"], expected, atol=2e-5)


def test_only_the_adapter_in_use_is_merged(tmp_path: Path) -> None:
    model = trained(tmp_path, CONFIGS["lora"])
    expected = model.predict(PAIRS)
    model.add_adapter(peft.LoraConfig(r=2, init_lora_weights=False), "other")
    assert np.abs(model.predict(PAIRS) - expected).max() > 1e-3
    model.set_adapter("default")
    model.merge_and_unload()
    np.testing.assert_allclose(model.predict(PAIRS), expected, atol=2e-5)


def test_a_merged_model_is_trained_on_as_a_whole(tmp_path: Path) -> None:
    model = trained(tmp_path, CONFIGS["lora"])
    model.merge_and_unload()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    args = arguments(tmp_path / "on", learning_rate=1e-2)
    CrossEncoderTrainer(model=model, args=args, train_dataset=rows(12)).train()
    still = [
        name for name, value in model.model.named_parameters() if torch.equal(value, before[name])
    ]
    assert still == []
    model.add_adapter(CONFIGS["lora"])  # and another adapter can be put in
    assert model.active_adapters() == ["default"]
