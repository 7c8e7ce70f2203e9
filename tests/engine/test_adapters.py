"""Adapters in packed execution: transformers' own padded forward is the reference."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch

from rankwright.engine.batch import PackedBatch
from rankwright.engine.pack import pack
from rankwright.engine.scorers import build_scorer
from tests.engine.test_packed_equals_padded import (
    assert_same_gradients,
    gradients,
    padded_logits,
    random_pairs,
)
from tests.tiny import FAMILIES, tiny_model

LENGTHS = [1, 2, 3, 40, 40, 39, 25, 9, 9, 17]
KINDS: dict[str, Callable[..., Any]] = {
    "lora": peft.LoraConfig,
    "dora": lambda **o: peft.LoraConfig(use_dora=True, **o),
    "loha": peft.LoHaConfig,
}


def adapted(family: str, kind: str = "lora", **options: Any) -> torch.nn.Module:
    """A model with an adapter that does something, and with a trained copy of its classifier."""
    model, _ = tiny_model(family)
    head = ["pre_classifier", "classifier"] if family == "distilbert" else ["classifier"]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = KINDS[kind](
            r=3, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=head,
            **options,
        )  # fmt: skip
        model.add_adapter(config)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                offset = 1.0 if "magnitude" in name else 0.0
                torch.nn.init.normal_(parameter, mean=offset, std=0.3)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gradients(family: str, kind: str) -> None:
    model = adapted(family, kind)
    pairs = random_pairs(family, LENGTHS)
    scorer = build_scorer(model)
    assert scorer.packed
    plain = build_scorer(tiny_model(family)[0])(pack(pairs))
    found = scorer(pack(pairs))
    assert not torch.allclose(found, plain, atol=0.05)  # else this test could not fail
    with torch.no_grad():
        exact = padded_logits(copy.deepcopy(model).double(), pairs)
        errors = [(x - exact).abs().max() for x in (found, padded_logits(model, pairs))]
    assert errors[0] <= 2 * errors[1] + 1e-5
    mine = gradients(model, scorer(pack(pairs)))
    assert all("default" in name for name in mine)  # the base is frozen
    assert any("classifier" in name for name in mine)
    assert_same_gradients(mine, gradients(model, padded_logits(model, pairs)))


def test_in_double_precision() -> None:
    model = adapted("bert").double()
    pairs = random_pairs("bert", LENGTHS)
    found = build_scorer(model)(pack(pairs))
    expected = padded_logits(model, pairs)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)  # logits are float32


def test_in_bfloat16_products() -> None:
    model = adapted("bert")
    pairs = random_pairs("bert", LENGTHS)
    exact = build_scorer(model)(pack(pairs)).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        rough = build_scorer(model)(pack(pairs))
        reference = padded_logits(model, pairs)
    error = float((rough - exact).abs().max())
    assert 0 < error < 2 * float((reference - exact).abs().max())


def test_an_adapter_on_embeddings() -> None:
    model, _ = tiny_model("bert")
    names = ["word_embeddings", "token_type_embeddings"]
    model.add_adapter(peft.LoraConfig(r=2, target_modules=names, task_type="SEQ_CLS"))
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    pairs = random_pairs("bert", LENGTHS)
    for typed in (pairs, type(pairs)(pairs.input_ids, None)):
        found = build_scorer(model)(pack(typed))
        torch.testing.assert_close(found, padded_logits(model, typed), atol=2e-5, rtol=2e-5)


def test_dropout_of_an_adapter_follows_the_call_not_the_flag() -> None:
    model = adapted("bert", lora_dropout=0.5)
    pairs = pack(random_pairs("bert", LENGTHS))
    scorer = build_scorer(model)
    expected = scorer(pairs, training=False)
    model.train()
    assert torch.equal(scorer(pairs, training=False), expected)
    assert model.training
    assert not torch.allclose(scorer(pairs, training=True), expected, atol=1e-3)


PEFT_IS_OLDER = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@PEFT_IS_OLDER
def test_a_wrapped_model_runs_packed_too() -> None:
    model, _ = tiny_model("bert")
    config = peft.LoraConfig(r=3, task_type="SEQ_CLS", init_lora_weights=False)
    wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    pairs = random_pairs("bert", LENGTHS)
    scorer = build_scorer(wrapped)
    assert scorer.packed
    torch.testing.assert_close(
        scorer(pack(pairs), training=False),
        padded_logits(wrapped.eval(), pairs), atol=2e-5, rtol=2e-5,
    )  # fmt: skip
    with wrapped.disable_adapter():
        plain = build_scorer(model)(pack(pairs))
        torch.testing.assert_close(scorer(pack(pairs)), plain, atol=2e-5, rtol=2e-5)


@PEFT_IS_OLDER
def test_prompt_tuning_runs_padded_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model, _ = tiny_model("bert")
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="SEQ_CLS")
    wrapped = peft.get_peft_model(model, config).eval()
    with caplog.at_level(logging.WARNING, logger="rankwright"):
        scorer = build_scorer(wrapped)
    assert not scorer.packed
    assert "PROMPT_TUNING" in caplog.text
    pairs = random_pairs("bert", LENGTHS)
    batch: PackedBatch = pack(type(pairs)(pairs.input_ids, None))
    expected = padded_logits(wrapped, type(pairs)(pairs.input_ids, None))
    torch.testing.assert_close(scorer(batch), expected, atol=2e-5, rtol=2e-5)
