"""A model and its card data to the text of README.md. Nothing is predicted, nothing fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rankwright.errors import MissingDependencyError
from rankwright.model.card.data import CrossEncoderModelCardData, MetricRow
from rankwright.model.hub import full_name

__all__ = ["CardFacts", "render_card"]

TAGS = ("sentence-transformers", "cross-encoder", "reranker", "rankwright")


@dataclass(frozen=True)
class CardFacts:
    """What the model itself shows.

    Attributes:
        architecture: Class of the transformers model.
        parameters: Number of parameters.
        num_labels: Outputs of the head.
        max_length: Most tokens per pair.
        activation: Name of the activation.
        prompts: Prompt name -> text.
        fusion: How first-stage scores are mixed in, or None.
        location: Name or folder to load it from, for the snippets.
        versions: Package -> version.
    """

    architecture: str
    parameters: int
    num_labels: int
    max_length: int
    activation: str
    prompts: dict[str, str]
    fusion: dict[str, Any] | None
    location: str
    versions: dict[str, str]


def render_card(data: CrossEncoderModelCardData, facts: CardFacts) -> str:
    """The whole README.md, front matter included.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    matter = yaml.safe_dump(_front_matter(data, facts), sort_keys=False, allow_unicode=True)
    title = data.model_name or data.model_id or _default_title(data)
    body = _template().render(
        data=data,
        facts=facts,
        title=_one_line(title),
        improvements=any(row.baseline is not None for row in data.results),
        training_data=_names(data.train_datasets),
    )
    return f"---\n{matter}---\n\n{body.strip()}\n"


def _default_title(data: CrossEncoderModelCardData) -> str:
    return f"Cross-encoder based on {data.base_model}" if data.base_model else "Cross-encoder"


@cache
def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError.for_package("jinja2", "train", "A model card") from error
    text = resources.files(__package__).joinpath("card.md.jinja").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(cell=_cell, number=_number, code=_code)
    return environment.from_string(text)


def _front_matter(data: CrossEncoderModelCardData, facts: CardFacts) -> dict[str, Any]:
    matter: dict[str, Any] = {}
    if data.language:
        matter["language"] = [data.language] if isinstance(data.language, str) else data.language
    if data.license:
        matter["license"] = data.license
    matter["tags"] = list(dict.fromkeys([*TAGS, *data.tags]))
    # A folder of this machine means nothing to others, and the hub refuses it.
    if data.base_model and _is_on_hub(data.base_model):
        matter["base_model"] = data.base_model
    datasets = [d["id"] for d in data.train_datasets if isinstance(d, dict) and d.get("id")]
    if datasets:
        matter["datasets"] = datasets
    matter["pipeline_tag"] = "text-ranking" if facts.num_labels == 1 else "text-classification"
    matter["library_name"] = "sentence-transformers"
    if data.results:
        matter["metrics"] = sorted({row.metric for row in data.results})
        matter["model-index"] = [_model_index(data, matter["pipeline_tag"])]
    return matter


def _model_index(data: CrossEncoderModelCardData, task: str) -> dict[str, Any]:
    by_dataset: dict[str, list[MetricRow]] = {}
    for row in data.results:
        by_dataset.setdefault(row.dataset, []).append(row)
    return {
        "name": data.model_name or data.model_id or _default_title(data),
        "results": [
            {
                "task": {"type": task, "name": data.task_name},
                "dataset": {"name": name, "type": re.sub(r"\W+", "-", name).strip("-") or "data"},
                "metrics": [
                    {"type": row.metric.lower(), "value": row.value, "name": row.metric}
                    for row in rows
                ],
            }
            for name, rows in by_dataset.items()
        ],
    }


def _is_on_hub(name: str) -> bool:
    organised = full_name(name) == name and name.count("/") <= 1
    return organised and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _names(datasets: list[str | dict[str, str]]) -> list[str]:
    return [d if isinstance(d, str) else d.get("name") or d.get("id", "") for d in datasets]


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _cell(value: Any) -> str:
    return _one_line(_number(value)).replace("|", "\\|")


def _code(value: Any) -> str:
    """A Python string literal, so that no name can break out of a snippet."""
    return repr(str(value))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
