"""The front matter of a model card: what the hub reads."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from rankwright.model.card.data import CrossEncoderModelCardData, MetricRow
from rankwright.model.card.facts import EmissionFacts, names_of
from rankwright.model.card.markdown import plain
from rankwright.model.card.tables import all_results
from rankwright.model.hub import full_name

__all__ = ["default_title", "front_matter", "is_on_hub", "task_name"]

TAGS = ("sentence-transformers", "cross-encoder", "reranker", "rankwright")


def front_matter(data: CrossEncoderModelCardData, num_labels: int) -> str:
    """YAML between two lines of ``---``; every text in it is on one line."""
    ranking = num_labels == 1
    matter: dict[str, Any] = {}
    if data.language:
        matter["language"] = [data.language] if isinstance(data.language, str) else data.language
    if data.license:
        matter["license"] = data.license
    matter["tags"] = list(dict.fromkeys([*TAGS, *data.tags]))
    # A folder of this machine means nothing to others, and the hub refuses it.
    if data.base_model and is_on_hub(data.base_model):
        matter["base_model"] = data.base_model
    named = [hub for _, hub in names_of(data.train_datasets)]
    datasets = [name for name in (*named, *(d.id for d in data.train_data)) if name]
    if datasets:
        matter["datasets"] = list(dict.fromkeys(datasets))
    matter["pipeline_tag"] = "text-ranking" if ranking else "text-classification"
    matter["library_name"] = "sentence-transformers"
    if data.widget:
        matter["widget"] = data.widget
    results = [row for row in all_results(data) if math.isfinite(row.value)]
    if results:
        matter["metrics"] = sorted({row.metric for row in results})
    if data.emissions is not None:
        matter["co2_eq_emissions"] = _emissions(data.emissions)
    if results:
        task = {"type": matter["pipeline_tag"], "name": task_name(data, num_labels)}
        matter["model-index"] = [{"name": _title(data), "results": _model_index(results, task)}]
    # Never folded: a text of the user's cannot then come to stand at the start of a line.
    text = yaml.safe_dump(plain(matter), sort_keys=False, allow_unicode=True, width=math.inf)
    return f"---\n{text}---\n"


def default_title(data: CrossEncoderModelCardData) -> str:
    """What to call a model that was not given a name."""
    return f"Cross-encoder based on {data.base_model}" if data.base_model else "Cross-encoder"


def task_name(data: CrossEncoderModelCardData, num_labels: int) -> str:
    """What the model is for."""
    if data.task_name is not None:
        return data.task_name
    ranking = num_labels == 1
    return "text reranking and semantic search" if ranking else "text pair classification"


def is_on_hub(name: str) -> bool:
    """Whether a name can be one of the hub's: not a folder of this machine."""
    organised = full_name(name) == name and name.count("/") <= 1
    return organised and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _title(data: CrossEncoderModelCardData) -> str:
    return data.model_name or data.model_id or default_title(data)


def _model_index(results: list[MetricRow], task: dict[str, str]) -> list[dict[str, Any]]:
    by_dataset: dict[str, list[MetricRow]] = {}
    for row in results:
        by_dataset.setdefault(row.dataset, []).append(row)
    return [
        {
            "task": task,
            "dataset": {"name": name, "type": re.sub(r"\W+", "-", name).strip("-") or "data"},
            "metrics": [
                {"type": row.metric.lower(), "value": row.value, "name": row.metric} for row in rows
            ],
        }
        for name, rows in by_dataset.items()
    ]


def _emissions(found: EmissionFacts) -> dict[str, Any]:
    values = {
        "emissions": 1000 * found.emissions,  # the hub counts in grams
        "energy_consumed": found.energy,
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "on_cloud": found.on_cloud,
        "cpu_model": found.cpu,
        "ram_total_size": found.ram,
        "hours_used": found.hours,
        "hardware_used": found.gpu,
    }
    return {name: value for name, value in values.items() if value is not None}
