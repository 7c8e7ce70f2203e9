"""What a training run tells the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard

from rankwright import (
    CrossEncoder,
    CrossEncoderModelCardData,
    CrossEncoderRerankingEvaluator,
    CrossEncoderTrainer,
    ListNetLoss,
    MSELoss,
)
from rankwright.training.card import CrossEncoderModelCardCallback, log_rows
from rankwright.training.card_data import describe_datasets, usage_examples
from rankwright.training.card_settings import changed_arguments, shown_arguments
from tests.tiny import save_tiny, tiny_tokenizer
from tests.training.runs import arguments
from tests.training.stub import rows


class Measured:
    """All that statistics need of a model."""

    tokenizer = tiny_tokenizer()


@pytest.fixture
def model(tmp_path: Path) -> CrossEncoder:
    save_tiny(tmp_path / "base")
    return CrossEncoder(
        str(tmp_path / "base"),
        device="cpu",
        num_labels=1,
        model_card_data=CrossEncoderModelCardData(train_datasets=["our logs"], tags=["loss:Old"]),
    )


def samples(count: int) -> list[dict[str, Any]]:
    found = rows(count * 3, seed=9)
    return [
        {
            "query": f"{found[3 * i]['query']} {i}",
            "positive": [found[3 * i + 1]["document"]],
            "documents": [found[3 * i + 2]["document"], found[3 * i + 1]["document"]],
        }
        for i in range(count)
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_whole_run(tmp_path: Path, model: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    predict = CrossEncoder.predict

    def counted(self: CrossEncoder, inputs: Any = None, *args: Any, **options: Any) -> Any:
        asked.append(len(inputs))
        return predict(self, inputs, *args, **options)

    monkeypatch.setattr(CrossEncoder, "predict", counted)
    evaluator = CrossEncoderRerankingEvaluator(samples(3), name="dev")
    args = arguments(
        tmp_path / "run",
        num_train_epochs=2,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        warmup_ratio=0.1,
    )
    train, held_out = rows(12), rows(6, seed=5)
    trainer = CrossEncoderTrainer(
        model=model, args=args, train_dataset=train, eval_dataset=held_out, evaluator=evaluator
    )
    trainer.train()
    # The evaluator asks about 6 pairs; no card asks about its 3 examples at any checkpoint.
    assert set(asked) <= {6}
    checkpoints = list((tmp_path / "run").glob("checkpoint-*"))
    assert len(checkpoints) == 2
    assert not any((folder / "README.md").exists() for folder in checkpoints)
    evaluations = len(asked)
    trainer.save_model(str(tmp_path / "final"))
    assert asked[evaluations:] == [3]

    card = ModelCard.load(tmp_path / "final" / "README.md")
    text = card.content
    parsed = card.data.to_dict()
    assert {"generated_from_trainer", "loss:BinaryCrossEntropyLoss", "dataset_size:12"} <= set(
        parsed["tags"]
    )
    assert "loss:Old" not in parsed["tags"]  # of a training before this one
    assert str(tmp_path) not in text
    for wanted in (
        "our logs",
        "- Rows: 12",
        "- Rows: 6",
        "### Cross Encoder Reranking on dev",
        "- `num_train_epochs`: `2`",
        "The row in bold is the checkpoint that was kept.",
        "(training_curves.png)",
        "(base_to_reranked.png)",
        "### Time",
        '"pos_weight": null',
    ):
        assert wanted in text, wanted
    for name in ("training_curves.png", "base_to_reranked.png"):
        assert (tmp_path / "final" / name).read_bytes().startswith(b"\x89PNG")

    # The log in the card is the trainer's.
    logged = [e for e in trainer.state.log_history if "loss" in e]
    for entry in logged:
        assert f"| {entry['step']} | {entry['loss']:.4f} |" in text.replace("**", "")
    best = trainer.state.best_global_step
    if best:
        row = next(line for line in text.splitlines() if f"| **{best}** |" in line)
        assert f"**{trainer.state.best_metric:.4f}**" in row
    now = next(
        e for e in trainer.state.log_history if e["step"] == best and "eval_dev_ndcg@10" in e
    )
    found = {r.metric_name: r.metric_value for r in card.data.eval_results}
    assert found["ndcg@10"] == pytest.approx(now["eval_dev_ndcg@10"], abs=1e-4)


def test_what_a_training_says_nothing_about(tmp_path: Path, model: CrossEncoder) -> None:
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path / "run"), train_dataset=rows(8)
    )
    trainer.train()
    data = model.model_card_data
    assert data.best_step is None
    assert data.eval_data == []
    assert data.emissions is None
    card = model.model_card()
    for absent in ("Environmental", "Evaluation data", "Citation", "in bold"):
        assert absent not in card


def test_a_card_that_is_not_to_be_filled_in(tmp_path: Path, model: CrossEncoder) -> None:
    trainer = CrossEncoderTrainer(
        model=model, args=arguments(tmp_path / "run", max_steps=1), train_dataset=rows(4)
    )
    trainer.remove_callback(CrossEncoderModelCardCallback)
    trainer.train()
    assert model.model_card_data.training_summary == {}
    assert model.model_card_data.losses == []


def test_losses_and_their_papers(tmp_path: Path, model: CrossEncoder) -> None:
    data = [
        {"q": r["query"], "docs": [r["document"], "other"], "labels": [1.0, 0.0]} for r in rows(8)
    ]
    args = arguments(tmp_path / "run")
    CrossEncoderTrainer(model=model, args=args, train_dataset=data, loss=ListNetLoss).train()
    card = model.model_card()
    assert "loss:ListNetLoss" in card
    config = card.split("### Loss")[1].split("```json\n")[1].split("\n```")[0]
    assert json.loads(config) == ListNetLoss(model).get_config_dict()
    cited = card.split("```bibtex\n")[1].split("\n```")[0]
    assert cited == str(ListNetLoss.citation).strip()
    assert model.model_card_data.usage_examples[0] == (data[0]["q"], data[0]["docs"][0])


# --- data ---------------------------------------------------------------------------------------


def test_statistics() -> None:
    texts = ["sort files", "list", "open the table by name"]
    data = Dataset.from_dict(
        {
            "query": texts,
            "docs": [["a"], ["b", "c"], ["d", "e", "f"]],
            "label": [1, 0, 0],
            "score": [0.25, 0.5, 1.5],
            "labels": [[1], [2, 3], [4, 5, 6]],
            "nothing": [None, None, None],
        }
    )
    (found,) = describe_datasets(data, MSELoss, Measured())
    lengths = [len(Measured.tokenizer.tokenize(text)) for text in texts]
    columns = {c.name: (c.kind, c.statistics) for c in found.columns}
    assert columns == {
        "query": (
            "text",
            f"{min(lengths)} to {max(lengths)} tokens, {np.mean(lengths):.4g} on average",
        ),
        "docs": ("texts", "1 to 3 elements, 2 on average"),
        "label": ("int", "0: 66.7 %, 1: 33.3 %"),
        "score": ("float", "0.25 to 1.5, 0.75 on average"),
        "labels": ("list", "1 to 3 elements, 2 on average"),
        "nothing": ("empty", ""),
    }
    assert found.size == found.looked_at == 3
    assert found.samples[1] == ("list", "['b', 'c']", "0", "0.5", "[2, 3]", "None")


def test_only_the_first_rows_are_looked_at() -> None:
    long = "word " * 400
    data = Dataset.from_dict({"q": ["a"] * 100 + ["b c d"] * 900, "d": [long] * 1000})
    (found,) = describe_datasets(data, None, Measured())
    assert (found.size, found.looked_at, len(found.samples)) == (1000, 100, 3)
    assert found.columns[0].statistics == "1 to 1 tokens, 1 on average"
    assert len(found.samples[0][1]) == 500
    assert all(len(d) <= 500 for _, d in usage_examples(data))


def test_several_data_sets_and_losses(model: CrossEncoder) -> None:
    one = Dataset.from_list(rows(4))
    losses = {"a": MSELoss(model), "b": ListNetLoss(model)}
    found = describe_datasets(DatasetDict({"a": one, "b": one}), losses, Measured())
    assert [(f.name, f.size, f.loss.name) for f in found if f.loss] == [
        ("a", 4, "MSELoss"),
        ("b", 4, "ListNetLoss"),
    ]
    data = CrossEncoderModelCardData(train_data=found)
    model.model_card_data = data
    card = model.model_card()
    assert "#### a" in card
    assert "- Loss: `ListNetLoss`" in card


def test_streams_are_not_read() -> None:
    def source() -> Any:
        raise AssertionError("read")
        yield

    from datasets import IterableDataset

    stream = IterableDataset.from_generator(source)
    (found,) = describe_datasets(stream, None, Measured())
    assert found.size is None
    assert usage_examples(stream) == []
    assert describe_datasets(None, None, Measured()) == []
    assert usage_examples({}) == []
    assert usage_examples(Dataset.from_dict({"q": ["a"], "label": [1]})) == []


def test_where_a_data_set_came_from() -> None:
    data = Dataset.from_list(rows(2))
    data.info.dataset_name = "gooaq"
    data.info.download_checksums = {
        "hf://datasets/org/gooaq@0123abc/pair/train.parquet": {"num_bytes": 1}
    }
    (found,) = describe_datasets(data, None, Measured())
    assert (found.name, found.id, found.revision) == ("gooaq", "org/gooaq", "0123abc")
    data.info.dataset_name = "json"  # the name of a format, not of data
    data.info.download_checksums = {"/somewhere/file.json": {}}
    (found,) = describe_datasets(data, None, Measured())
    assert (found.name, found.id) == ("", None)


# --- settings and logs --------------------------------------------------------------------------


def test_only_what_was_set_is_not_default(tmp_path: Path) -> None:
    given = {
        "learning_rate": 3e-4,
        "num_train_epochs": 7,
        "lr_scheduler_type": "cosine",
        "batch_sampler": "no_duplicates",
        "max_tokens_per_pass": 100,
        "per_device_train_batch_size": 4,
        "hub_token": "secret-token",
    }
    args = arguments(tmp_path, **given)
    changed = changed_arguments(args)
    assert changed == {name: value for name, value in given.items() if name != "hub_token"}
    shown = shown_arguments(args)
    assert str(tmp_path) not in str(shown)
    assert "secret-token" not in str(shown)
    assert len(shown) > 50


def test_log_rows() -> None:
    class Named:
        primary_metric = "dev_ndcg@10"

    class Several:
        evaluators = (Named(),)
        primary_metric = "sequential_score"

    history = [
        {"eval_dev_ndcg@10": 0.25, "eval_dev_map": 0.1, "step": 0, "epoch": 0},
        {"loss": 0.5, "grad_norm": 1.0, "learning_rate": 0.1, "step": 2, "epoch": 0.5},
        {"eval_loss": 0.4, "eval_runtime": 3.0, "step": 2, "epoch": 0.5},
        {"eval_dev_ndcg@10": 0.75, "eval_sequential_score": 0.5, "step": 4, "epoch": 1.0},
        {"eval_evaluator": 0.1, "eval_other_loss": 0.3, "step": 4, "epoch": 1.0},
        {"train_runtime": 9.0, "train_loss": 0.5, "step": 4, "epoch": 1.0},
    ]
    assert log_rows(history, [Several(), print]) == [
        {"epoch": 0.0, "step": 0, "dev_ndcg@10": 0.25},
        {"epoch": 0.5, "step": 2, "training_loss": 0.5, "validation_loss": 0.4},
        {
            "epoch": 1.0,
            "step": 4,
            "dev_ndcg@10": 0.75,
            "sequential_score": 0.5,
            "evaluator": 0.1,
            "other_loss": 0.3,
        },
    ]


def test_no_network(tmp_path: Path, model: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a card needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    model.model_card_data.base_model = "org/some-model"
    model.model_card_data.train_datasets = [{"id": "org/some-data"}]
    model.save_pretrained(tmp_path / "out")
    assert "https://huggingface.co/datasets/org/some-data" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")


def test_a_model_without_card_data_trains(tmp_path: Path) -> None:
    from tests.training.stub import StubEncoder

    stub = StubEncoder()
    before = stub.model.classifier.weight.clone()
    CrossEncoderTrainer(model=stub, args=arguments(tmp_path), train_dataset=rows(8)).train()  # type: ignore[arg-type]
    assert not torch.equal(before, stub.model.classifier.weight)
