"""Training an adapter instead of all weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch.nn import functional as F
from transformers import TrainerCallback

from rankwright import CrossEncoder, CrossEncoderTrainer
from rankwright.errors import WeightsError
from rankwright.training import find_checkpoint
from tests.tiny import save_tiny
from tests.training.runs import arguments
from tests.training.stub import rows

PAIRS = [(row["query"], row["document"]) for row in rows(6, 5)]
LORA = peft.LoraConfig(r=3, lora_alpha=12, target_modules="all-linear")
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "base", **QUIET)


def test_only_the_adapter_and_the_head_learn_and_are_saved(tmp_path: Path, base: Path) -> None:
    model = CrossEncoder(base)
    before = {name: value.clone() for name, value in model.named_parameters()}
    args = arguments(tmp_path / "run", learning_rate=1e-2, num_train_epochs=2)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=rows(16), peft_config=LORA)
    trainer.train()
    for name, value in model.named_parameters():
        if ".default" not in name:
            original = name.replace("original_module.", "").replace("base_layer.", "")
            assert torch.equal(value, before[original]), name
    moved = [n for n, p in model.named_parameters() if p.requires_grad]
    assert any("lora_B" in name for name in moved)
    assert any("classifier" in name for name in moved)
    expected = model.predict(PAIRS)
    assert np.abs(expected - CrossEncoder(base).predict(PAIRS)).max() > 1e-3
    trainer.save_model(str(tmp_path / "final"))
    assert not (tmp_path / "final" / "model.safetensors").exists()
    np.testing.assert_array_equal(CrossEncoder(tmp_path / "final").predict(PAIRS), expected)


def test_one_step_equals_transformers_own_with_padding(tmp_path: Path, base: Path) -> None:
    """The reference: the same adapter in a plain padded loop of torch."""
    data = rows(8)
    model, plain = CrossEncoder(base), CrossEncoder(base)
    for each in (model, plain):
        torch.manual_seed(0)
        each.add_adapter(LORA)
    args = arguments(
        tmp_path / "run", per_device_train_batch_size=8, learning_rate=0.1, optim="sgd",
        lr_scheduler_type="constant", max_grad_norm=0.0,
    )  # fmt: skip
    CrossEncoderTrainer(model=model, args=args, train_dataset=data).train()
    inputs = plain.tokenizer(
        [row["query"] for row in data], [row["document"] for row in data],
        padding=True, truncation=True, max_length=plain.max_length, return_tensors="pt",
    )  # fmt: skip
    logits = plain.model(**inputs).logits[:, 0]
    F.binary_cross_entropy_with_logits(logits, torch.tensor([r["label"] for r in data])).backward()
    for (name, mine), (_, theirs) in zip(
        model.named_parameters(), plain.named_parameters(), strict=True
    ):
        stepped = theirs if theirs.grad is None else theirs - 0.1 * theirs.grad
        torch.testing.assert_close(mine, stepped, atol=1e-5, rtol=1e-4, msg=name)


def test_resumed_bit_for_bit_and_best_model_loaded(tmp_path: Path, base: Path) -> None:
    def run(folder: Path, resume: bool, steps: int) -> CrossEncoder:
        model = CrossEncoder(base)
        args = arguments(
            folder, max_steps=8, save_strategy="steps", save_steps=2, learning_rate=5e-3,
            eval_strategy="steps", eval_steps=2, load_best_model_at_end=steps == 8,
        )  # fmt: skip
        trainer = CrossEncoderTrainer(
            model=model, args=args, train_dataset=rows(24), eval_dataset=rows(9, 1),
            peft_config=LORA,
        )  # fmt: skip
        if steps < 8:
            trainer.add_callback(_StopAt(steps))
        trainer.train(resume_from_checkpoint=resume)
        if steps == 8:
            best = CrossEncoder(trainer.state.best_model_checkpoint)
            np.testing.assert_array_equal(best.predict(PAIRS), model.predict(PAIRS))
        return model

    whole = run(tmp_path / "whole", False, 8)
    run(tmp_path / "parts", False, 4)
    assert find_checkpoint(tmp_path / "parts") == tmp_path / "parts" / "checkpoint-4"
    parts = run(tmp_path / "parts", True, 8)
    for (name, a), (_, b) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_resuming_without_the_adapter_is_refused(tmp_path: Path, base: Path) -> None:
    args = arguments(tmp_path / "run", max_steps=2, save_strategy="steps", save_steps=2)
    CrossEncoderTrainer(
        model=CrossEncoder(base), args=args, train_dataset=rows(8), peft_config=LORA
    ).train()
    trainer = CrossEncoderTrainer(model=CrossEncoder(base), args=args, train_dataset=rows(8))
    with pytest.raises(WeightsError, match="peft_config"):
        trainer.train(resume_from_checkpoint=True)


def test_gradient_checkpointing_changes_nothing(tmp_path: Path, base: Path) -> None:
    found = []
    for recompute in (False, True):
        model = CrossEncoder(base)
        args = arguments(tmp_path / str(recompute), gradient_checkpointing=recompute)
        CrossEncoderTrainer(
            model=model, args=args, train_dataset=rows(12), peft_config=LORA
        ).train()
        found.append(model.predict(PAIRS))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


class _StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            control.should_training_stop = True
