"""The texts that both libraries are measured on; every list is the same on every run.

A: code search, queries and functions from the Python that runs it (`rankwright.recipes`).
B: nl2bash, English requests and shell commands: short texts.
C: medquad, health questions and their answers: long texts.

B and C are folders in BEIR's layout, below the folder that is named with ``--data``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rankwright.data import load_data
from rankwright.data.types import RankingData
from rankwright.recipes.code_search import CodeSearchOptions, code_search_data

__all__ = [
    "FOLDERS",
    "TITLES",
    "Pair",
    "TextList",
    "fingerprint",
    "lists",
    "pairs",
    "read",
    "write",
]

TITLES = {"A": "code search", "B": "nl2bash", "C": "medquad"}
FOLDERS = {"B": "nl2bash", "C": "medquad"}
OTHERS = 3
"""Random documents beside each relevant one."""

Pair = tuple[str, str, float]
"""Query, document, label (1 for relevant, else 0)."""


@dataclass(frozen=True)
class TextList:
    """A query and its documents, a relevant one first."""

    query: str
    documents: list[str]


def read(name: str, data: Path | None = None, root: Path | None = None) -> RankingData:
    """The data behind a work load.

    Args:
        name: A, B or C.
        data: Folder that holds ``nl2bash`` and ``medquad``.
        root: Folder of Python sources for A; None for the standard library.

    Raises:
        FileNotFoundError: B or C, and their folder is not there.
    """
    if name == "A":
        return code_search_data(CodeSearchOptions(root=root))
    folder = None if data is None else data / FOLDERS[name]
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(f"work load {name} needs --data with the folder {FOLDERS[name]}")
    return load_data(folder)


def pairs(data: RankingData, count: int, split: str = "train") -> list[Pair]:
    """The first ``count`` pairs: one relevant document of a query, then a few random ones.

    Raises:
        ValueError: The data holds fewer.
    """
    found: dict[tuple[str, str], float] = {}  # a pair only once: equal pairs cost us nothing
    for query, relevant, others in _queries(data, split, OTHERS):
        found.setdefault((query, relevant), 1.0)
        for other in others:
            found.setdefault((query, other), 0.0)
        if len(found) >= count:
            return [(q, d, label) for (q, d), label in found.items()][:count]
    raise ValueError(f"only {len(found)} pairs are there, and {count} were asked for")


def lists(data: RankingData, count: int, documents: int, split: str = "train") -> list[TextList]:
    """``count`` queries with ``documents`` documents each.

    Raises:
        ValueError: The data holds fewer queries.
    """
    found = []
    for query, relevant, others in _queries(data, split, documents - 1):
        found.append(TextList(query, [relevant, *others]))
        if len(found) == count:
            return found
    raise ValueError(f"only {len(found)} queries are there, and {count} were asked for")


def _queries(data: RankingData, split: str, others: int) -> Iterator[tuple[str, str, list[str]]]:
    """Text of query, relevant document and other documents, in an order that nothing but ids sets.

    A list of n documents starts with the list of fewer ones.
    """
    judged = data.qrels[split]
    ids = list(data.corpus)
    for query in sorted(judged, key=lambda q: hashlib.sha256(q.encode()).digest()):
        relevant = [d for d, grade in judged[query].items() if grade > 0]
        if not relevant:
            continue
        chosen: dict[str, None] = {}
        draw = random.Random(f"{split}:{query}")
        while len(chosen) < min(others, len(ids) - len(relevant)):
            other = ids[draw.randrange(len(ids))]
            if other not in judged[query]:
                chosen[other] = None
        yield data.queries[query], data.corpus[relevant[0]], [data.corpus[d] for d in chosen]


def fingerprint(loads: list[Pair]) -> str:
    """Tells whether two machines measured the same texts: A depends on the Python release."""
    return hashlib.sha256(json.dumps(loads).encode()).hexdigest()[:12]


def write(path: Path, loads: list[Pair] | list[TextList]) -> Path:
    """As JSON, for workers that do not have Rankwright; returns the path."""
    rows = [load if isinstance(load, tuple) else [load.query, load.documents] for load in loads]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
