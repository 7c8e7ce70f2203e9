"""One query's documents, and their ranking as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.errors import InputError, InputTypeError

__all__ = ["Documents", "rank_documents", "read_documents"]


@dataclass(frozen=True)
class Documents:
    """n documents; ``ids`` and ``metadata`` are None where none were given."""

    texts: list[str]
    ids: list[Any] | None
    metadata: list[Any] | None

    def __len__(self) -> int:
        return len(self.texts)


def read_documents(
    documents: Iterable[str | Mapping[str, Any]],
    ids: Sequence[Any] | None = None,
    metadata: Sequence[Any] | None = None,
) -> Documents:
    """Documents given as strings, or as mappings with a ``"text"``.

    Of a mapping, ``"id"`` or ``"_id"`` is its id and what else it holds its metadata. A
    ``"title"`` is metadata too: it is not put before the text.

    Raises:
        InputTypeError: A bare string, or a document that is neither a string nor a mapping.
        InputError: A mapping without a text, or ``ids`` or ``metadata`` of another length.
    """
    if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
        raise InputTypeError(
            f"documents is {documents!r:.60} ({type(documents).__name__}); "
            "expected a list of texts."
        )
    items = list(documents)
    texts: list[str] = []
    found_ids: list[Any] = []
    found_metadata: list[Any] = []
    for index, item in enumerate(items):
        text = item.get("text") if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            kind = InputError if isinstance(item, Mapping) else InputTypeError
            raise kind(
                f"documents[{index}] is {item!r:.60} ({type(item).__name__}); "
                'expected a string, or a mapping such as {"id": "d1", "text": "..."}.'
            )
        texts.append(str(text))
        row: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
        found_ids.append(row.get("id", row.get("_id")))
        found_metadata.append({k: v for k, v in row.items() if k not in ("text", "id", "_id")})
    return Documents(
        texts,
        _given(ids, "ids", texts)
        if ids is not None
        else (found_ids if any(i is not None for i in found_ids) else None),
        _given(metadata, "metadata", texts)
        if metadata is not None
        else (found_metadata if any(found_metadata) else None),
    )


def _given(values: Sequence[Any], what: str, texts: list[str]) -> list[Any]:
    if isinstance(values, (str, bytes)):
        raise InputTypeError(f"{what} is the bare string {values!r:.60}; expected a list.")
    given = list(values)
    if len(given) != len(texts):
        raise InputError(
            f"{what} has {len(given)} entries for {len(texts)} documents; pass one per document."
        )
    return given


def rank_documents(
    documents: Documents,
    columns: Mapping[str, Sequence[float]],
    top_k: int | None,
    return_documents: bool,
) -> list[dict[str, Any]]:
    """Best first; documents with equal scores keep the order they came in.

    Args:
        documents: n documents.
        columns: Name -> n numbers that go into each result; sorted by ``"score"``.
        top_k: How many to return; None for all.
        return_documents: Whether each result carries its text.
    """
    scores = columns["score"]
    order = sorted(range(len(documents)), key=lambda i: -scores[i])[:top_k]
    results: list[dict[str, Any]] = []
    for index in order:
        result: dict[str, Any] = {"corpus_id": index}
        result.update({name: float(values[index]) for name, values in columns.items()})
        if return_documents:
            result["text"] = documents.texts[index]
        if documents.ids is not None and documents.ids[index] is not None:
            result["id"] = documents.ids[index]
        if documents.metadata is not None and documents.metadata[index] not in (None, {}):
            result["metadata"] = documents.metadata[index]
        results.append(result)
    return results
