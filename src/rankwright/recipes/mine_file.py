"""Hard negatives of a data set, written to a file that trainers read."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.data.atomic import atomic_write
from rankwright.data.jsonl import write_jsonl
from rankwright.data.types import Qrels, RankingData, Run
from rankwright.errors import EmptyDataError, InputError, MissingDependencyError
from rankwright.mining import mine, score_positives
from rankwright.recipes.recipe import MiningRecipe
from rankwright.recipes.searching import Search, Searched, judged_queries, search

__all__ = ["FORMATS", "MineOptions", "MinedRows", "check_mined_path", "mine_rows", "write_rows"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
ENDINGS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class MineOptions:
    """What to mine.

    Attributes:
        search: The first stage that finds the candidates; its depth is chosen here.
        mining: Which candidates become negatives.
        shape: One of `FORMATS`: ``"triplet"`` (query, positive, negative), ``"n-tuple"`` (query,
            positive, negative_1 … negative_n, only where all n were found), ``"labeled-pair"``
            (query, document, label), ``"labeled-list"`` (query, documents, labels).
        split: Split of the data, or ``"all"``.
        seed: Of random choices.
    """

    search: Search
    mining: MiningRecipe
    shape: str = "triplet"
    split: str = "train"
    seed: int = 12


@dataclass(frozen=True)
class MinedRows:
    """Rows and what they hold.

    Attributes:
        rows: Column -> value.
        first_stage: Name of the stage that found the candidates.
        queries: How many queries had a relevant document.
        positives: How many (query, relevant document) pairs there were.
        negatives: How many (query, negative) pairs were found.
        short: Queries with fewer negatives than asked for.
    """

    rows: list[Row]
    first_stage: str
    queries: int
    positives: int
    negatives: int
    short: int


def check_mined_path(path: str | Path, shape: str) -> Path:
    """The path, if rows of this shape can be written there.

    Raises:
        InputError: Another ending or shape, or lists in a CSV file.
    """
    path = Path(path)
    if shape not in FORMATS:
        raise InputError(f"The format '{shape}' is not known. Choose one of: {', '.join(FORMATS)}.")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} must end in one of {', '.join(ENDINGS)}, which is its format.")
    if path.suffix.lower() == ".csv" and shape == "labeled-list":
        raise InputError(
            "A CSV file cannot hold the lists of the format labeled-list. Write .jsonl or "
            ".parquet, or choose labeled-pair."
        )
    return path


def mine_rows(data: RankingData, options: MineOptions) -> MinedRows:
    """Mines negatives for the relevant documents of a split.

    Raises:
        InputError: A margin with a run file, whose scores of relevant documents are not known.
        EmptyDataError: Nothing was found.
        RankwrightError: Data, first stage or options that cannot be used.
    """
    mining = options.mining
    if options.shape not in FORMATS:
        raise InputError(
            f"The format '{options.shape}' is not known. Choose one of: {', '.join(FORMATS)}."
        )
    qrels = judged_queries(data, options.split)
    positives = {q: [d for d, grade in judged.items() if grade > 0] for q, judged in qrels.items()}
    most = max(len(found) for found in positives.values())
    rules = mining.mining_options(options.seed)
    depth = rules.window(most) + most
    queries = {query: data.queries[query] for query in qrels}
    what = Search(options.search.recipe, options.search.first_stage, depth, options.search.progress)
    found = search(what, data.corpus, queries)
    negatives = mine(
        found.run,
        qrels,
        rules,
        corpus=data.corpus,
        positive_scores=_positive_scores(found, data, queries, qrels, mining),
        random_negatives=mining.random_negatives,
    )
    wanted = mining.num_negatives + mining.random_negatives
    rows = list(_rows(data, positives, negatives, options.shape, wanted))
    if not rows:
        raise EmptyDataError(
            "No negatives were found, so there is nothing to write. Relax the mining options "
            "(--range-min, --margin), or give a larger corpus."
        )
    return MinedRows(
        rows=rows,
        first_stage=found.name,
        queries=len(positives),
        positives=sum(len(documents) for documents in positives.values()),
        negatives=sum(len(documents) for documents in negatives.values()),
        short=sum(len(negatives.get(query, ())) < wanted for query in positives),
    )


def _positive_scores(
    found: Searched,
    data: RankingData,
    queries: Mapping[str, str],
    qrels: Qrels,
    mining: MiningRecipe,
) -> Run | None:
    if mining.relative_margin is None:
        return None
    if found.stage is None:
        raise InputError(
            f"A margin needs the scores of all relevant documents, and the run file {found.name} "
            "has those of its own lists only. Mine with bm25 or dense, or without a margin."
        )
    return score_positives(found.stage, data.corpus, queries, qrels)


def _rows(
    data: RankingData,
    positives: Mapping[str, Sequence[str]],
    negatives: Mapping[str, Sequence[str]],
    shape: str,
    wanted: int,
) -> Iterator[Row]:
    for key, relevant in positives.items():
        query = data.queries[key]
        good = [data.corpus[document] for document in relevant]
        bad = [data.corpus[document] for document in negatives.get(key, ())]
        if not bad:
            continue
        if shape == "labeled-pair":
            yield from ({"query": query, "document": text, "label": 1} for text in good)
            yield from ({"query": query, "document": text, "label": 0} for text in bad)
            continue
        for positive in good:
            if shape == "triplet":
                yield from (
                    {"query": query, "positive": positive, "negative": text} for text in bad
                )
            elif shape == "labeled-list":
                labels = [1] + [0] * len(bad)
                yield {"query": query, "documents": [positive, *bad], "labels": labels}
            elif len(bad) >= wanted:
                numbered = {f"negative_{n}": text for n, text in enumerate(bad[:wanted], start=1)}
                yield {"query": query, "positive": positive, **numbered}


def write_rows(rows: Sequence[Row], path: str | Path) -> None:
    """Writes rows as JSON Lines, CSV or Parquet, by the file's ending; whole or not at all.

    Raises:
        InputError: Another ending.
        SaveError: The file could not be written; what was there is untouched.
        MissingDependencyError: Parquet without pyarrow.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".jsonl":
        write_jsonl(rows, path)
    elif ending == ".csv":
        with atomic_write(path) as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif ending == ".parquet":
        _write_parquet(rows, path)
    else:
        raise InputError(f"{path} must end in one of {', '.join(ENDINGS)}.")


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "pyarrow", "train", "Writing Parquet files"
        ) from error
    with atomic_write(path, "wb") as file:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
