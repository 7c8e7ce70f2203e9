"""Language models learn: with every loss, with LoRA, and from the score that they are used with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import rankwright.losses as losses
from rankwright.engine.pack import pack
from rankwright.model import CrossEncoder, LogitScore
from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
from tests.tiny_lm import CHAT, END, RERANKER, save_lm, tiny_lm

WORDS = "sort list file date name open close read write copy".split()
PAIRS = [(f"how {a}", f"{b} the table") for a in WORDS for b in WORDS[:6]]
LABELS = [float(q.split()[1] == d.split()[0]) for q, d in PAIRS]
TARGETS = ["q_proj", "v_proj", "down_proj"]


def arguments(folder: Path, **options: Any) -> CrossEncoderTrainingArguments:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 1,
    }
    return CrossEncoderTrainingArguments(str(folder), **(defaults | options))


def pairs_of(kind: str) -> Dataset:
    queries, documents = [q for q, _ in PAIRS], [d for _, d in PAIRS]
    rows: dict[str, Any] = {"query": queries}
    if kind == "pairs":
        return Dataset.from_dict(rows | {"document": documents, "label": LABELS})
    others = documents[1:] + documents[:1]
    if kind == "lists":
        lists = [[a, b] for a, b in zip(documents, others, strict=True)]
        return Dataset.from_dict(rows | {"documents": lists, "labels": [[1.0, 0.0]] * len(lists)})
    rows |= {"positive": documents, "negative": others}
    return Dataset.from_dict(
        rows | ({"scores": [[2.0, 0.5]] * len(others)} if kind == "scores" else {})
    )


LOSSES = {
    "BinaryCrossEntropyLoss": "pairs",
    "MSELoss": "pairs",
    "MarginMSELoss": "scores",
    "MultipleNegativesRankingLoss": "tuples",
    "CachedMultipleNegativesRankingLoss": "tuples",
    "LambdaLoss": "lists",
    "RankNetLoss": "lists",
    "ListNetLoss": "lists",
    "PListMLELoss": "lists",
    "ListMLELoss": "lists",
    "ADRMSELoss": "lists",
}


@pytest.mark.parametrize("name", [name for name in LOSSES if hasattr(losses, name)])
def test_every_loss(tmp_path: Path, name: str) -> None:
    model = CrossEncoder.from_transformers(*tiny_lm(chat_template=RERANKER))
    before = model.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    trainer = CrossEncoderTrainer(
        model,
        arguments(tmp_path),
        train_dataset=pairs_of(LOSSES[name]),
        loss=getattr(losses, name)(model),
    )
    trainer.train()
    logs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 4
    assert np.isfinite(logs).all()
    assert not torch.equal(before, model.model.model.layers[0].mlp.up_proj.weight)


def test_it_learns_and_comes_back(tmp_path: Path) -> None:
    # Without a chat: a short prompt makes a short test.
    model = CrossEncoder.from_transformers(*tiny_lm(), template="{query} {document}?")
    start = model.predict(PAIRS)
    args = arguments(tmp_path / "run", max_steps=40, save_strategy="steps", save_steps=40)
    trainer = CrossEncoderTrainer(model, args, train_dataset=pairs_of("pairs"))
    trainer.train()
    logs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(logs[-10:]) < 0.7 * np.mean(logs[:3])
    scores = model.predict(PAIRS)
    assert not np.allclose(scores, start)
    again = CrossEncoder(tmp_path / "run" / "checkpoint-40")
    np.testing.assert_allclose(again.predict(PAIRS), scores, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_resuming(tmp_path: Path, tied: bool) -> None:
    def run(folder: str, steps: int, resume: Any = None) -> np.ndarray:
        model = CrossEncoder.from_transformers(
            *tiny_lm(tie_word_embeddings=tied), template="{query} {document}?"
        )
        args = arguments(
            tmp_path / folder,
            max_steps=steps,
            save_strategy="steps",
            save_steps=2,
            lr_scheduler_type="constant",
        )
        trainer = CrossEncoderTrainer(model, args, train_dataset=pairs_of("pairs"))
        trainer.train(resume_from_checkpoint=resume)
        return np.asarray(model.predict(PAIRS))

    straight = run("straight", 4)
    run("stopped", 2)
    resumed = run("stopped", 4, resume=str(tmp_path / "stopped" / "checkpoint-2"))
    np.testing.assert_array_equal(resumed, straight)


def test_what_is_trained_is_what_is_scored(tmp_path: Path) -> None:
    """The instruction is in its slot, and control tokens in texts are text, in training too."""
    model = CrossEncoder.from_transformers(
        *tiny_lm(chat_template=RERANKER), prompts={"code": "Find code"}, default_prompt_name="code"
    )
    rows = [{"query": f"a{END}", "document": f"b{END}", "label": 1.0}]
    trainer = CrossEncoderTrainer(model, arguments(tmp_path), train_dataset=Dataset.from_list(rows))
    batch = trainer.data_collator(rows)
    tokenizer = model.pair_tokenizer.with_instruction("Find code")  # type: ignore[union-attr]
    (expected,) = tokenizer.encode([(rows[0]["query"], rows[0]["document"])], 320).input_ids  # type: ignore[list-item]
    assert batch["input_ids"].tolist() == expected.tolist()
    text = model.tokenizer.decode(expected)
    assert f"<Instruct>: Find code\n<Query>: a{END}\n" in text
    logit = model.score([(rows[0]["query"], rows[0]["document"])]).logits[0, 0]
    assert float(model(batch).detach()) == pytest.approx(float(logit), abs=1e-6)


# --- LoRA --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lm(tmp_path_factory.mktemp("base"), chat_template=CHAT)


def adapted(base: Path, **options: Any) -> CrossEncoder:
    peft = pytest.importorskip("peft")
    model = CrossEncoder(base, **options)
    torch.manual_seed(0)
    model.add_adapter(peft.LoraConfig(r=4, target_modules=TARGETS))
    return model


@pytest.mark.parametrize("kind", ["tokens", "head"])
def test_lora(tmp_path: Path, base: Path, kind: str) -> None:
    options: dict[str, Any] = {
        "logit_score": LogitScore("no", "yes"),
        "template": "{query} {document}?",
    }
    if kind == "head":
        options |= {"logit_score": False, "seed": 3}
    model = adapted(base, **options)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    allowed = ("lora_", "modules_to_save") if kind == "head" else ("lora_",)
    assert trained
    assert all(any(word in name for word in allowed) for name in trained)
    before = model.predict(PAIRS)
    args = arguments(tmp_path / "run", max_steps=10, learning_rate=1e-2)
    CrossEncoderTrainer(model, args, train_dataset=pairs_of("pairs")).train()
    scores = model.predict(PAIRS)
    assert not np.allclose(scores, before, atol=1e-3)

    model.save_pretrained(tmp_path / "adapter", create_model_card=False)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    again = CrossEncoder(tmp_path / "adapter")
    assert again.template == "{query} {document}?"
    assert again.score_tokens == model.score_tokens
    np.testing.assert_allclose(again.predict(PAIRS), scores, atol=1e-6)

    again.merge_and_unload()
    np.testing.assert_allclose(again.predict(PAIRS), scores, atol=1e-5)
    again.save_pretrained(tmp_path / "merged", create_model_card=False)
    np.testing.assert_allclose(CrossEncoder(tmp_path / "merged").predict(PAIRS), scores, atol=1e-5)


def test_lora_gradients(base: Path) -> None:
    """Against float64: weights as W + (alpha / r) B A, pair by pair, all logits."""
    model = adapted(base, template="{query} {document}?")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    pairs = PAIRS[:3]
    labels = torch.tensor([1.0, 0.0, 1.0])
    model.train()
    tokens = model.pair_tokenizer.encode(pairs, 320)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(pack(tokens)), labels)
    loss.backward()

    plain = CrossEncoder(base).model.double().eval()
    factors = {}
    for name, module in model.model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        a = module.lora_A["default"].weight.detach().double().requires_grad_()
        b = module.lora_B["default"].weight.detach().double().requires_grad_()
        factors[name] = (a, b, module.scaling["default"])
    weights = {n: p.detach() for n, p in plain.named_parameters()}
    for name, (a, b, scale) in factors.items():
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + scale * (b @ a)
    assert model.score_tokens is not None
    true, false = model.score_tokens.ids
    scores = []
    for ids in tokens.input_ids:
        given = {"input_ids": torch.from_numpy(ids)[None]}
        last = torch.func.functional_call(plain, weights, (), given).logits[0, -1]
        scores.append(last[true] - last[false])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.stack(scores), labels.double()
    )
    torch.testing.assert_close(loss, expected.float(), atol=1e-5, rtol=1e-5)
    expected.backward()
    for name, (a, b, _) in factors.items():
        module = model.model.get_submodule(name)
        for ours, theirs in ((module.lora_A, a), (module.lora_B, b)):
            assert theirs.grad is not None
            torch.testing.assert_close(
                ours["default"].weight.grad, theirs.grad.float(), atol=1e-4, rtol=1e-3
            )
