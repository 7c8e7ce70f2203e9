"""The trainer with the real model, evaluator and folders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from rankwright import CrossEncoder, CrossEncoderRerankingEvaluator, CrossEncoderTrainer
from rankwright.errors import InputError
from tests.tiny import save_tiny
from tests.training.runs import arguments
from tests.training.stub import rows


@pytest.fixture
def model(tmp_path: Path) -> CrossEncoder:
    save_tiny(tmp_path / "base")
    return CrossEncoder(str(tmp_path / "base"), device="cpu", num_labels=1)


SAMPLES = [
    {
        "query": f"sort {word}",
        "positive": [f"sort {word} list"],
        "documents": [f"open {word}", f"sort {word} list", "table"],
    }
    for word in ("files", "rows", "names")
]
DATA = [
    {"query": s["query"], "document": d, "label": float(d in s["positive"])}
    for s in SAMPLES
    for d in s["documents"]
]


def test_train_evaluate_choose_and_reload(tmp_path: Path, model: CrossEncoder) -> None:
    evaluator = CrossEncoderRerankingEvaluator(SAMPLES, name="dev", show_progress_bar=False)
    args = arguments(
        tmp_path / "run",
        num_train_epochs=4,
        learning_rate=3e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_dev_ndcg@10",
    )
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=DATA, evaluator=evaluator)
    trainer.train()
    scores = [e["eval_dev_ndcg@10"] for e in trainer.state.log_history if "eval_dev_ndcg@10" in e]
    assert len(scores) == 5  # once before training
    assert trainer.state.best_metric == max(scores)
    assert list((tmp_path / "run" / "eval").glob("*.csv"))
    pairs = [(r["query"], r["document"]) for r in DATA]
    expected = model.predict(pairs)
    assert not model.training or expected is not None
    best = CrossEncoder(trainer.state.best_model_checkpoint, device="cpu")
    torch.testing.assert_close(
        torch.as_tensor(best.predict(pairs)), torch.as_tensor(expected), atol=1e-6, rtol=1e-6
    )
    trainer.save_model(str(tmp_path / "final"))
    card = (tmp_path / "final" / "README.md").read_text(encoding="utf-8")
    assert "BinaryCrossEntropyLoss" in card
    assert model.model_card_data.training_summary["pairs seen"] == 4 * len(DATA)
    assert model.model_card_data.hyperparameters["learning rate"] == 3e-3
    again = CrossEncoder(str(tmp_path / "final"), device="cpu")
    torch.testing.assert_close(
        torch.as_tensor(again.predict(pairs)), torch.as_tensor(expected), atol=1e-6, rtol=1e-6
    )


def test_predict_after_bf16_training_is_in_float32_again(
    tmp_path: Path, model: CrossEncoder
) -> None:
    CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path / "run", bf16=True, emulate_bf16=True),
        train_dataset=rows(8),
    ).train()
    pairs = [("sort files", "sort a list"), ("open", "close the table")]
    model.eval()
    features = model.tokenizer(
        *map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model.model(**features).logits[:, 0].sigmoid()
    torch.testing.assert_close(torch.as_tensor(model.predict(pairs)), expected, atol=1e-5, rtol=0)


def test_gradient_checkpointing_changes_memory_not_weights(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    trained = []
    for checkpointing in (False, True):
        model = CrossEncoder(str(tmp_path / "base"), device="cpu")
        args = arguments(tmp_path / "run", gradient_checkpointing=checkpointing)
        trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=rows(12))
        seen: list[bool] = []
        step = trainer.training_step
        trainer.training_step = lambda *a, s=step, seen=seen, m=model: (
            seen.append(m.model.is_activation_checkpointing) or s(*a)
        )
        trainer.train()
        assert set(seen) == {checkpointing}
        assert not model.model.is_activation_checkpointing
        trained.append(model.model.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-6, rtol=1e-5)


def test_a_model_that_could_not_be_saved_is_refused_at_once(
    tmp_path: Path, model: CrossEncoder
) -> None:
    model.activation_fn = lambda x: x * 2
    args = arguments(tmp_path / "run", save_strategy="epoch")
    with pytest.raises(InputError):
        CrossEncoderTrainer(model=model, args=args, train_dataset=rows(8))


@pytest.mark.parametrize("family", ["electra", "distilbert", "xlm-roberta", "deberta"])
def test_other_families_train_without_warnings(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    save_tiny(tmp_path / "base", family)
    model = CrossEncoder(str(tmp_path / "base"), device="cpu")
    before: dict[str, Any] = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    with caplog.at_level(logging.WARNING):
        args = arguments(tmp_path / "run", save_strategy="epoch", learning_rate=1e-2)
        CrossEncoderTrainer(model=model, args=args, train_dataset=rows(8)).train()
        CrossEncoderTrainer(model=model, args=args, train_dataset=rows(8)).train(
            resume_from_checkpoint=True
        )
    assert caplog.messages == []
    frozen = [n for n, p in model.model.named_parameters() if torch.equal(p, before[n])]
    # Position 0 of a table is all that may stand still; whole parameters may not.
    assert frozen == []


def test_a_model_with_several_labels_gets_cross_entropy(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", num_labels=3)
    model = CrossEncoder(str(tmp_path / "base"), device="cpu")
    data = [{**row, "label": i % 3} for i, row in enumerate(rows(12))]
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(tmp_path / "run", num_train_epochs=30, learning_rate=3e-3),
        train_dataset=data,
    )
    trainer.train()
    predicted = model.predict([(r["query"], r["document"]) for r in data]).argmax(1)
    assert (predicted == [r["label"] for r in data]).mean() > 0.8


@pytest.mark.parametrize("name", ["MultipleNegativesRankingLoss", "LambdaLoss", "MarginMSELoss"])
def test_other_losses_train_through_the_whole_way(tmp_path: Path, name: str) -> None:
    import rankwright.losses as losses

    save_tiny(tmp_path / "base", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = CrossEncoder(str(tmp_path / "base"), device="cpu")
    data: list[dict[str, Any]] = [
        {"q": s["query"], "p": s["positive"][0], "n": s["documents"][0]} for s in SAMPLES
    ]
    if name != "MultipleNegativesRankingLoss":
        data = [row | {"labels": [2.0, 0.0]} for row in data]
    args = arguments(
        tmp_path / "run", num_train_epochs=12, learning_rate=3e-3, logging_steps=1, bf16=True,
        emulate_bf16=True,
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=data, loss=getattr(losses, name)
    )
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged[-1] < 0.5 * logged[0]
