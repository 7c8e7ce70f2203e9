"""Choosing golden pairs, and the scores that a model's float32 weights give them."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.data import RankingData, load_data, read_jsonl
from rankwright.errors import DataNotFoundError, EmptyDataError, FormatError, InputError
from rankwright.export.sample import sample_queries
from rankwright.mining import BM25
from rankwright.model.folder import ModelFolder
from rankwright.model.golden import GOLDEN_FILE, Golden, GoldenQuery, read_golden
from rankwright.model.pairs import Pair

__all__ = ["ChosenPairs", "PairOptions", "choose_pairs", "with_reference"]

logger = logging.getLogger(__name__)

SAMPLE_SOURCE = "sample pairs that come with Rankwright"


@dataclass(frozen=True)
class PairOptions:
    """Where golden pairs come from, and how many there are.

    Attributes:
        data: A source that `rankwright.load_data` reads, or data already read.
        file: JSON Lines of ``{"query", "documents", "labels"}`` (the last may be missing) or
            ``{"query", "document", "label"}``, or another model's ``golden.json``.
        queries: Most queries.
        documents: Most documents of each.
        proof: Most further judged queries that nDCG@10 is measured on, of data only.
        calibration: Most further pairs to calibrate 8-bit ranges on.
        seed: Decides which.
    """

    data: str | Path | RankingData | None = None
    file: str | Path | None = None
    queries: int = 48
    documents: int = 12
    proof: int = 300
    calibration: int = 256
    seed: int = 12

    def __post_init__(self) -> None:
        if self.data is not None and self.file is not None:
            raise InputError("Golden pairs come from data or from a file; give one of them.")
        least_of = {"queries": 1, "documents": 2, "proof": 0, "calibration": 1}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"{name}={getattr(self, name)!r} golden pairs; expected at least {least}."
                )


@dataclass(frozen=True)
class ChosenPairs:
    """Texts without scores.

    Attributes:
        queries: The golden pairs.
        calibration: Pairs to calibrate on; of other queries wherever there are enough.
        source: Where they come from, for people.
        sample: Whether they are the sample pairs, for want of better ones.
        proof: More judged queries, to measure nDCG@10 on; they are not saved with the model.
    """

    queries: tuple[GoldenQuery, ...]
    calibration: tuple[Pair, ...]
    source: str
    sample: bool = False
    proof: tuple[GoldenQuery, ...] = ()


def choose_pairs(folder: ModelFolder, options: PairOptions) -> ChosenPairs:
    """Golden pairs from data or a file; else those that the folder has; else sample pairs.

    Raises:
        DataNotFoundError, DataError: The data or the file cannot be used.
    """
    if options.data is not None:
        return _from_data(options)
    if options.file is not None:
        queries = _bounded(_from_file(Path(options.file).expanduser()), options)
        return ChosenPairs(queries, _all_pairs(queries, options), str(Path(options.file).name))
    if folder.has(GOLDEN_FILE):
        found = read_golden(folder)
        if found.source != SAMPLE_SOURCE:
            return ChosenPairs(found.queries, _all_pairs(found.queries, options), found.source)
    logger.warning(
        "No golden pairs were given (--data or --golden), so exported models are compared with "
        "the weights on sample pairs in English. Agreement on your own texts is not known: "
        "export again with pairs of your own before you rely on it."
    )
    queries = sample_queries()
    return ChosenPairs(queries, _all_pairs(queries, options), SAMPLE_SOURCE, sample=True)


def _all_pairs(queries: tuple[GoldenQuery, ...], options: PairOptions) -> tuple[Pair, ...]:
    pairs = [(q.query, document) for q in queries for document in q.documents]
    random.Random(options.seed).shuffle(pairs)
    return tuple(pairs[: options.calibration])


def _bounded(queries: list[GoldenQuery], options: PairOptions) -> tuple[GoldenQuery, ...]:
    chosen = queries
    if len(queries) > options.queries:
        chosen = random.Random(options.seed).sample(queries, options.queries)
    n = options.documents
    return tuple(
        GoldenQuery(q.query, q.documents[:n], None if q.labels is None else q.labels[:n])
        for q in chosen
    )


# --- a file -----------------------------------------------------------------------------------


def _from_file(path: Path) -> list[GoldenQuery]:
    if not path.is_file():
        raise DataNotFoundError(f"{path} is not there; expected a file of golden pairs.")
    if path.suffix == ".json":
        folder = ModelFolder(path.parent)
        if path.name != GOLDEN_FILE:
            raise FormatError(
                "golden pairs in JSON are read from a file named golden.json, as 'rankwright "
                "export' writes it; others are JSON Lines, named .jsonl.",
                path=path,
            )
        return list(read_golden(folder).queries)
    grouped: dict[str, list[tuple[str, int | None]]] = {}
    for line, row in read_jsonl(path):
        query = row.get("query")
        if not isinstance(query, str) or not query.strip():
            raise FormatError(f"'query' is {query!r:.60}; expected a text.", path=path, line=line)
        grouped.setdefault(query, []).extend(_documents(row, path, line))
    if not grouped:
        raise EmptyDataError("holds no golden pairs.", path=path)
    found = []
    for query, documents in grouped.items():
        labels = [label for _, label in documents]
        known = all(label is not None for label in labels)
        found.append(
            GoldenQuery(
                query,
                tuple(text for text, _ in documents),
                tuple(int(label or 0) for label in labels) if known else None,
            )
        )
    return found


def _documents(row: dict[str, Any], path: Path, line: int) -> Iterator[tuple[str, int | None]]:
    several = "documents" in row
    texts = row["documents"] if several else [row.get("document")]
    labels = row.get("labels") if several else [row.get("label")]
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts) or not texts:
        raise FormatError(
            f"expected 'document' with a text or 'documents' with a list of texts, found "
            f"{texts!r:.60}.",
            path=path,
            line=line,
        )
    labels = [None] * len(texts) if labels is None else labels
    whole = all(x is None or (isinstance(x, (int, float)) and x == int(x)) for x in labels)
    if len(labels) != len(texts) or not whole:
        raise FormatError(
            f"'{'labels' if several else 'label'}' is {labels!r:.60}; expected one whole number "
            "per document.",
            path=path,
            line=line,
        )
    yield from zip(texts, (None if x is None else int(x) for x in labels), strict=True)


# --- data -------------------------------------------------------------------------------------


def _from_data(options: PairOptions) -> ChosenPairs:
    given = options.data
    assert given is not None
    data = given if isinstance(given, RankingData) else load_data(given)
    name = next((s for s in ("test", "dev", "train") if data.qrels.get(s)), None)
    if name is None:
        raise EmptyDataError(f"{data.source or given} has no judged queries to take pairs from.")
    chooser = random.Random(options.seed)
    judged = sorted(data.qrels[name])
    chosen = chooser.sample(judged, min(len(judged), options.queries))
    left = sorted(set(judged) - set(chosen))
    proof = chooser.sample(left, min(len(left), options.proof))
    every = {q for split in data.qrels.values() for q in split} - set(chosen)
    spare = sorted(every - set(proof)) or sorted(every)
    others = chooser.sample(spare, min(len(spare), -(-options.calibration // options.documents)))
    asked = list(dict.fromkeys([*chosen, *others, *proof]))
    found = _candidates(data, asked, options.documents)
    queries = tuple(found[q] for q in chosen)
    rest = tuple(found[q] for q in others)
    source = f"{len(queries)} {name} queries of {Path(data.source).name or 'the data'}"
    return ChosenPairs(
        queries,
        _all_pairs(rest or queries, options),
        source,
        proof=tuple(found[q] for q in proof),
    )


def _candidates(data: RankingData, queries: list[str], count: int) -> dict[str, GoldenQuery]:
    """Judged documents (at most half), then what BM25 finds, then others, to ``count`` in all."""
    ids = list(data.corpus)
    bm25 = BM25(language="auto").index([data.corpus[i] for i in ids], show_progress_bar=False)
    hits, _ = bm25.search([data.queries[q] for q in queries], k=count, show_progress_bar=False)
    found: dict[str, GoldenQuery] = {}
    for query, row in zip(queries, hits, strict=True):
        grades = next(split[query] for split in data.qrels.values() if query in split)
        judged = sorted(grades, key=lambda d: -grades[d])[: max(1, count // 2)]
        named = [*judged, *data.negatives.get(query, ()), *(ids[i] for i in row if i >= 0), *ids]
        chosen: dict[str, None] = {}
        for document in named:
            if len(chosen) == count:
                break
            chosen[document] = None
        found[query] = GoldenQuery(
            data.queries[query],
            tuple(data.corpus[document] for document in chosen),
            tuple(grades.get(document, 0) for document in chosen),
        )
    return found


# --- the reference ----------------------------------------------------------------------------


def with_reference(
    queries: tuple[GoldenQuery, ...], source: str, model: Any, weights: str | None
) -> Golden:
    """Pairs with the scores of a `rankwright.CrossEncoder` in float32.

    Args:
        queries: The texts, at least one query.
        source: Where they come from.
        model: The model.
        weights: Fingerprint of its weights.
    """
    pairs = [(q.query, document) for q in queries for document in q.documents]
    found = model.score(pairs, precision="float32", show_progress_bar=False)
    scores = np.asarray(found.scores, np.float32).reshape(len(pairs), -1)
    return Golden(queries, source, weights, found.logits, scores)
