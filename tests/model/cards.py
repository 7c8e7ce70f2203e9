"""Model cards with every field filled in, and what they are made from."""

from __future__ import annotations

import re
from typing import Any

import yaml

from rankwright import CrossEncoder
from rankwright.model.card import (
    ColumnFacts,
    CrossEncoderModelCardData,
    DatasetFacts,
    EmissionFacts,
    LossFacts,
    MetricRow,
)
from rankwright.model.card.render import CardFacts
from tests.tiny import tiny_model


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
