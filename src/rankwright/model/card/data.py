"""`CrossEncoderModelCardData`: what a model card says beyond what the model itself shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CrossEncoderModelCardData", "MetricRow"]


@dataclass(frozen=True)
class MetricRow:
    """One measured number.

    Attributes:
        dataset: Which data it was measured on.
        metric: Name such as ``"nDCG@10"``.
        value: The model's.
        baseline: The first stage's, or another model's, on the same data.
        note: Such as ``"p = 0.003"`` or ``"300 queries"``.
    """

    dataset: str
    metric: str
    value: float
    baseline: float | None = None
    note: str = ""


@dataclass
class CrossEncoderModelCardData:
    """Fields of the model card; all are optional, and training fills those that it knows.

    Attributes:
        language: Language code or codes, such as ``"en"``.
        license: Licence id, such as ``"apache-2.0"``.
        model_name: Title of the card.
        model_id: Name on the hub, set when the model is pushed.
        base_model: What the model was trained from.
        train_datasets: Names of the training data, or ``{"name": ..., "id": ...}``.
        eval_datasets: Names of the evaluation data, alike.
        task_name: What the model is for, in a few words.
        tags: More tags for the hub.
        local_files_only: Kept so that programs written for Sentence Transformers run; nothing is
            ever fetched for a card.
        generate_widget_examples: Likewise without effect: cards are made without predictions.
        training_summary: What to say about the training, as name -> value. A model with an empty
            one counts as untrained, and then a card it came with is kept as it is.
        hyperparameters: Name -> value.
        results: Measured numbers.
        limits: Known weaknesses, one sentence each.
    """

    language: str | list[str] | None = None
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    base_model: str | None = None
    train_datasets: list[str | dict[str, str]] = field(default_factory=list)
    eval_datasets: list[str | dict[str, str]] = field(default_factory=list)
    task_name: str = "text reranking and semantic search"
    tags: list[str] = field(default_factory=list)
    local_files_only: bool = False
    generate_widget_examples: bool = False
    training_summary: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    results: list[MetricRow] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def set_model_id(self, model_id: str) -> None:
        """The name on the hub."""
        self.model_id = model_id

    def add_results(self, dataset: str, metrics: Mapping[str, float], note: str = "") -> None:
        """Adds one row per metric."""
        for metric, value in metrics.items():
            self.results.append(MetricRow(dataset, metric, float(value), None, note))

    @property
    def says_something(self) -> bool:
        """Whether anything in it differs from a card nobody filled in."""
        blank = CrossEncoderModelCardData()
        ignored = {"base_model", "model_id", "local_files_only", "generate_widget_examples"}
        return any(
            getattr(self, name) != getattr(blank, name)
            for name in self.__dataclass_fields__
            if name not in ignored
        )
