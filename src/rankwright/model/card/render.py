"""A model and its card data to the text of README.md. Nothing is predicted, nothing fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from rankwright.errors import MissingDependencyError
from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.facts import DatasetFacts, names_of
from rankwright.model.card.markdown import (
    Markdown,
    block,
    code,
    finalize,
    hub_link,
    inline,
    json_block,
    number,
    one_line,
    python,
)
from rankwright.model.card.matter import default_title, front_matter, is_on_hub, task_name
from rankwright.model.card.plots import CURVES_FILE, GAINS_FILE
from rankwright.model.card.tables import (
    MAX_LOG_ROWS,
    evaluation_table,
    log_table,
    samples_table,
    statistics_table,
)

__all__ = ["CardFacts", "is_untouched", "render_card"]

_SEAL = re.compile(r"\n<!-- Edit this file freely: .* \(([0-9a-f]{16})\) -->\n$")
_EXAMPLES = (
    ("how do I list files", "ls lists the files of a folder"),
    ("how do I list files", "rm removes files"),
)


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
        scores: What the model gives the card's usage examples, as text; None if it was not asked.
        plots: File name -> what the picture shows.
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
    scores: str | None = None
    plots: Mapping[str, str] = field(default_factory=dict)


def render_card(data: CrossEncoderModelCardData, facts: CardFacts) -> str:
    """The whole README.md, front matter included.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    body = _template().render(
        data=data,
        facts=facts,
        title=data.model_name or data.model_id or default_title(data),
        task=task_name(data, facts.num_labels),
        base=_base(data.base_model),
        trained_on=[name for name in _named(data.train_datasets, data.train_data) if name],
        examples=(data.generate_widget_examples and data.usage_examples) or _EXAMPLES,
        scores=None if facts.scores is None else Markdown(one_line(facts.scores)),
        improvements=any(row.baseline is not None for row in data.results),
        curves=_picture(CURVES_FILE, facts.plots),
        gains=_picture(GAINS_FILE, facts.plots),
        thinned=len(data.training_logs) > MAX_LOG_ROWS,
        citations={loss.name: loss.citation for loss in data.losses if loss.citation},
    )
    text = f"{front_matter(data, facts.num_labels)}\n{_tidy(body)}\n"
    return (
        f"{text}\n<!-- Edit this file freely: an edited card is kept when the model is saved "
        + (f"again. ({_digest(text)}) -->\n")
    )


def is_untouched(card: str) -> bool:
    """Whether a card is as `render_card` made it."""
    seal = _SEAL.search(card)
    return seal is not None and _digest(card[: seal.start()]) == seal[1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError.for_package("jinja2", "train", "A model card") from error
    text = resources.files(__package__).joinpath("card.md.jinja").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=finalize
    )
    environment.filters.update(
        block=block,
        cell=_cell,
        code=code,
        duration=_duration,
        json_block=json_block,
        number=number,
        python=python,
    )
    environment.globals.update(
        evaluation_table=evaluation_table,
        log_table=log_table,
        named=_named,
        samples_table=samples_table,
        statistics_table=statistics_table,
    )
    return environment.from_string(text)


def _tidy(body: str) -> str:
    """Without blank lines in a row."""
    return re.sub(r"\n{3,}", "\n\n", body.strip())


def _cell(value: Any) -> Markdown:
    return inline(value)


def _base(name: str | None) -> Markdown | None:
    if not name:
        return None
    return hub_link(name) if is_on_hub(name) else code(name)


def _named(datasets: list[Any], seen: list[DatasetFacts]) -> list[Markdown]:
    """Names of data sets, with links to the hub where there are any."""
    found = []
    given = names_of(datasets)
    for i in range(max(len(given), len(seen))):
        facts = seen[i] if i < len(seen) else DatasetFacts()
        name, hub = given[i] if i < len(given) else (facts.name, None)
        hub = hub or facts.id
        found.append(hub_link(hub, "datasets", name) if hub else inline(name))
    return found


def _picture(file: str, plots: Mapping[str, str]) -> Markdown | None:
    return Markdown(f"![{plots[file]}]({file})") if file in plots else None


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
