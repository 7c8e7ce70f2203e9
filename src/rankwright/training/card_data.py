"""What a model card shows of the data: names, columns, lengths, a few rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rankwright.data import label_column
from rankwright.model.card import ColumnFacts, DatasetFacts, LossFacts
from rankwright.training.data import is_streaming

__all__ = ["describe_datasets", "usage_examples"]

LOOKED_AT = 100
"""Rows that statistics come from."""
_SAMPLES = 3
_EXAMPLES = 3
_LONGEST = 500
_MOST_LABELS = 5
# How `datasets` notes where the files of a data set from the hub came from.
_FROM_HUB = re.compile(r"hf://datasets/([^@/]+(?:/[^@/]+)?)@([0-9a-f]+)/")
# Names that `datasets` gives to files, not to data.
_FORMATS = {"arrow", "csv", "generator", "json", "pandas", "parquet", "sql", "text", "xml"}


def describe_datasets(data: Any, loss: Any, model: Any) -> list[DatasetFacts]:
    """Facts about one data set or several.

    Args:
        data: A data set, a mapping of them, or None.
        loss: The loss, or one by name of a data set.
        model: Whose tokenizer measures lengths.
    """
    if data is None:
        return []
    if not isinstance(data, Mapping):
        return [_describe(data, "", None, model)]
    several = isinstance(loss, Mapping)
    return [
        _describe(one, str(name), _loss_of(loss[name]) if several and name in loss else None, model)
        for name, one in data.items()
    ]


def usage_examples(data: Any) -> list[tuple[str, str]]:
    """A few (query, document) pairs from the first rows, cut to a length that can be read."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()), None)
    if data is None or is_streaming(data) or not hasattr(data, "column_names"):
        return []
    rows = data[:_EXAMPLES]
    label = label_column(list(rows))
    texts = [name for name in rows if name != label]
    if len(texts) < 2 or not rows[texts[0]]:
        return []
    query, documents = rows[texts[0]], rows[texts[1]]
    if isinstance(documents[0], list):
        pairs = [(query[0], document) for document in documents[0][:_EXAMPLES]]
    else:
        pairs = list(zip(query, documents, strict=True))
    cut = [(_cut(q), _cut(d)) for q, d in pairs if isinstance(q, str) and isinstance(d, str)]
    return list(dict.fromkeys(cut))


def _loss_of(loss: Any) -> LossFacts:
    return LossFacts(type(loss).__name__)


def _describe(data: Any, key: str, loss: LossFacts | None, model: Any) -> DatasetFacts:
    hub, revision = _origin(data)
    name = key or _name(data) or hub or ""
    if is_streaming(data) or not hasattr(data, "column_names"):
        # Reading from a stream might use up what training needs.
        columns = tuple(ColumnFacts(c, "") for c in getattr(data, "column_names", None) or ())
        return DatasetFacts(name, hub, revision, None, columns, loss=loss)
    rows = data[:LOOKED_AT]
    looked_at = min(LOOKED_AT, len(data))
    return DatasetFacts(
        name=name,
        id=hub,
        revision=revision,
        size=len(data),
        columns=tuple(_column(column, values, model) for column, values in rows.items()),
        looked_at=looked_at,
        samples=tuple(
            tuple(_cut(_shown(rows[column][i])) for column in rows)
            for i in range(min(_SAMPLES, looked_at))
        ),
        loss=loss,
    )


def _origin(data: Any) -> tuple[str | None, str | None]:
    """Name and commit on the hub, read from what `datasets` has noted; nothing is fetched."""
    sources = getattr(getattr(data, "info", None), "download_checksums", None) or {}
    for source in sources:
        match = _FROM_HUB.match(str(source))
        if match:
            return match[1], match[2]
    return None, None


def _name(data: Any) -> str | None:
    name = getattr(getattr(data, "info", None), "dataset_name", None)
    return None if not name or name in _FORMATS else str(name)


def _column(name: str, values: Sequence[Any], model: Any) -> ColumnFacts:
    present = [value for value in values if value is not None]
    first = present[0] if present else None
    if isinstance(first, str):
        return ColumnFacts(name, "text", _spread(_tokens(present, model), "tokens"))
    if isinstance(first, list):
        kind = "texts" if first and isinstance(first[0], str) else "list"
        return ColumnFacts(name, kind, _spread([len(value) for value in present], "elements"))
    if isinstance(first, bool | int) and len(set(present)) <= _MOST_LABELS:
        counts = Counter(present)
        shares = ", ".join(
            f"{value}: {100 * counts[value] / len(present):.1f} %" for value in sorted(counts)
        )
        return ColumnFacts(name, type(first).__name__, shares)
    if isinstance(first, int | float):
        return ColumnFacts(name, type(first).__name__, _spread(present, ""))
    return ColumnFacts(name, type(first).__name__ if present else "empty")


def _tokens(texts: Sequence[str], model: Any) -> list[int]:
    encoded = model.tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _spread(numbers: Sequence[float], unit: str) -> str:
    mean = sum(numbers) / len(numbers)
    span = " ".join(f"{min(numbers):.4g} to {max(numbers):.4g} {unit}".split())
    return f"{span}, {mean:.4g} on average"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(repr(v) if isinstance(v, str) else str(v) for v in value) + "]"
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
