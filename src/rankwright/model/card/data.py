"""`CrossEncoderModelCardData`: what a model card says beyond what the model itself shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rankwright.model.card.facts import (
    DatasetFacts,
    EmissionFacts,
    EvaluationFacts,
    LossFacts,
    MetricRow,
)

__all__ = ["CrossEncoderModelCardData", "MetricRow"]


@dataclass
class CrossEncoderModelCardData:
    """Fields of the model card; all are optional, and training fills those that it knows.

    Nothing is ever fetched for a card, so it comes out the same without a network.

    Attributes:
        language: Language code or codes, such as ``"en"``.
        license: Licence id, such as ``"apache-2.0"``.
        model_name: Title of the card.
        model_id: Name on the hub, set when the model is pushed.
        train_datasets: Names of the training data, or ``{"name": ..., "id": ...}``. Training adds
            what it sees of them, in the same order.
        eval_datasets: Names of the evaluation data, alike.
        task_name: What the model is for, in a few words; None for what its number of labels says.
        tags: More tags for the hub.
        local_files_only: Kept so that programs written for Sentence Transformers run.
        generate_widget_examples: Whether the card shows rows of the data: samples, and a usage
            example with the scores the model gives it. Set it to False for data that must not be
            published.
        base_model: What the model was trained from.
        training_summary: What to say about the training, as name -> value. A model with an empty
            one counts as untrained, and then a card it came with is kept as it is.
        hyperparameters: The settings that matter most, name -> value.
        non_default_hyperparameters: Training arguments that differ from their defaults.
        all_hyperparameters: All training arguments.
        results: Measured numbers.
        limits: Known weaknesses, one sentence each.
        train_data: What training saw of its data sets.
        eval_data: The same of the evaluation data.
        losses: The losses, without duplicates.
        evaluations: What evaluators measured.
        training_logs: Rows of the training log: ``epoch``, ``step``, then losses and metrics.
        best_step: The step whose weights the model has, if they are not those of the last.
        durations: Seconds by what they were spent on: ``training``, ``evaluation``.
        emissions: What CodeCarbon measured.
        usage_examples: (query, document) pairs for the usage example; the first query is ranked
            against all documents.
        widget: Examples for the hub's widget, in the hub's own form.
    """

    language: str | list[str] | None = None
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    train_datasets: list[str | dict[str, Any]] = field(default_factory=list)
    eval_datasets: list[str | dict[str, Any]] = field(default_factory=list)
    task_name: str | None = None
    tags: list[str] = field(default_factory=list)
    local_files_only: bool = False
    generate_widget_examples: bool = True
    base_model: str | None = None
    training_summary: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    results: list[MetricRow] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    non_default_hyperparameters: dict[str, Any] = field(default_factory=dict)
    all_hyperparameters: dict[str, Any] = field(default_factory=dict)
    train_data: list[DatasetFacts] = field(default_factory=list)
    eval_data: list[DatasetFacts] = field(default_factory=list)
    losses: list[LossFacts] = field(default_factory=list)
    evaluations: list[EvaluationFacts] = field(default_factory=list)
    training_logs: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    durations: dict[str, float] = field(default_factory=dict)
    emissions: EmissionFacts | None = None
    usage_examples: list[tuple[str, str]] = field(default_factory=list)
    widget: list[dict[str, Any]] = field(default_factory=list)

    def set_model_id(self, model_id: str) -> None:
        """The name on the hub."""
        self.model_id = model_id

    def set_language(self, language: str | list[str]) -> None:
        """Language code or codes."""
        self.language = language

    def set_license(self, license: str) -> None:
        """Licence id."""
        self.license = license

    def add_tags(self, tags: str | Iterable[str]) -> None:
        """Adds tags that are not there yet."""
        for tag in [tags] if isinstance(tags, str) else tags:
            if tag not in self.tags:
                self.tags.append(tag)

    def add_results(self, dataset: str, metrics: Mapping[str, float], note: str = "") -> None:
        """Adds one row per metric."""
        for metric, value in metrics.items():
            self.results.append(MetricRow(dataset, metric, float(value), None, note))

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, Any], epoch: float = 0, step: int = 0
    ) -> None:
        """Takes down what an evaluator measured; evaluators call this themselves.

        Args:
            evaluator: The evaluator.
            metrics: As in `EvaluationFacts.add`.
            epoch: When in training; -1 outside.
            step: Likewise.
        """
        kind, name = type(evaluator).__name__, str(getattr(evaluator, "name", "") or "")
        settings = getattr(evaluator, "get_config_dict", None)
        primary = getattr(evaluator, "primary_metric", None)
        made = EvaluationFacts(
            kind=kind,
            description=str(getattr(evaluator, "description", kind)),
            dataset=name,
            config=dict(settings()) if callable(settings) else {},
            primary=None if primary is None else str(primary).removeprefix(f"{name}_"),
        )
        same = (e for e in self.evaluations if (e.kind, e.dataset, e.config) == _key(made))
        known = next(same, None)
        if known is None:
            self.evaluations.append(made)
            known = made
        known.add(metrics, epoch, step)

    @property
    def says_something(self) -> bool:
        """Whether anything in it differs from a card nobody filled in.

        Evaluations do not count: measuring a model does not make it another one.
        """
        blank = CrossEncoderModelCardData()
        ignored = {
            "base_model",
            "model_id",
            "local_files_only",
            "generate_widget_examples",
            "evaluations",
        }
        return any(
            getattr(self, name) != getattr(blank, name)
            for name in self.__dataclass_fields__
            if name not in ignored
        )


def _key(facts: EvaluationFacts) -> tuple[str, str, Mapping[str, Any]]:
    return facts.kind, facts.dataset, facts.config
