"""``golden.json``: pairs saved with a model, and the scores its float32 weights give them.

Whatever runs the model later, another engine, another precision, another machine or a server, can
replay them and compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import ConfigError, DataNotFoundError
from rankwright.model.folder import ModelFolder
from rankwright.model.pairs import Pair

__all__ = ["GOLDEN_FILE", "Golden", "GoldenQuery", "golden_text", "read_golden"]

GOLDEN_FILE = "golden.json"
VERSION = 1


@dataclass(frozen=True)
class GoldenQuery:
    """One query and its n documents.

    Attributes:
        query: The text.
        documents: n texts.
        labels: n grades of relevance, or None where they are not known.
    """

    query: str
    documents: tuple[str, ...]
    labels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Golden:
    """Golden pairs and their reference; P pairs over all queries, in order.

    Attributes:
        queries: At least one.
        source: Where the texts come from.
        weights: Fingerprint of the weights that gave the reference; None if not known.
        logits: ``(P, num_labels)`` float32 before the activation.
        scores: ``(P, num_labels)`` float32 after it.
    """

    queries: tuple[GoldenQuery, ...]
    source: str
    weights: str | None
    logits: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def pairs(self) -> list[Pair]:
        """All pairs in order."""
        return [(q.query, document) for q in self.queries for document in q.documents]

    def slices(self) -> Iterator[tuple[GoldenQuery, slice]]:
        """Each query and where its pairs lie."""
        start = 0
        for query in self.queries:
            yield query, slice(start, start + len(query.documents))
            start += len(query.documents)


def golden_text(golden: Golden) -> str:
    """The contents of ``golden.json``."""
    rows = [
        {
            "query": query.query,
            "documents": list(query.documents),
            "labels": None if query.labels is None else list(query.labels),
            "logits": [[_short(x) for x in row] for row in golden.logits[where]],
            "scores": [[_short(x) for x in row] for row in golden.scores[where]],
        }
        for query, where in golden.slices()
    ]
    values = {
        "version": VERSION,
        "source": golden.source,
        "weights": golden.weights,
        "queries": rows,
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _short(value: np.float32) -> float:
    return float(str(value))  # the shortest decimal that reads back as the same float32


def read_golden(folder: ModelFolder) -> Golden:
    """The golden pairs of a folder.

    Raises:
        DataNotFoundError: It has none.
        ConfigError: The file does not hold what it should.
    """
    path = folder.path / GOLDEN_FILE
    if not folder.has(GOLDEN_FILE):
        raise DataNotFoundError(
            f"{path} is not there: nothing says which scores this model should give. "
            "'rankwright export' writes it, from --data, --golden or sample pairs."
        )
    values = folder.json_object(GOLDEN_FILE)
    if values.get("version") != VERSION:
        raise ConfigError(
            f"{path}: 'version' is {values.get('version')!r}; this release reads {VERSION}. Export "
            "the model again, or upgrade with: pip install --upgrade rankwright"
        )
    try:
        rows: list[dict[str, Any]] = values["queries"]
        queries = tuple(_query(row) for row in rows)
        logits = np.asarray([x for row in rows for x in row["logits"]], np.float32)
        scores = np.asarray([x for row in rows for x in row["scores"]], np.float32)
        pairs = sum(len(query.documents) for query in queries)
        if logits.ndim != 2 or logits.shape != scores.shape or len(logits) != pairs or not pairs:
            raise ValueError(f"{pairs} pairs, logits {logits.shape}, scores {scores.shape}")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: its queries do not hold ({type(error).__name__}: {error}). Export the model "
            "again, which writes the file."
        ) from error
    return Golden(queries, str(values.get("source", "")), values.get("weights"), logits, scores)


def _query(row: dict[str, Any]) -> GoldenQuery:
    labels = row.get("labels")
    query = GoldenQuery(
        str(row["query"]),
        tuple(map(str, row["documents"])),
        None if labels is None else tuple(map(int, labels)),
    )
    if query.labels is not None and len(query.labels) != len(query.documents):
        raise ValueError(f"{len(query.labels)} labels for {len(query.documents)} documents")
    return query
