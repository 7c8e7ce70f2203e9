"""A first stage by name, and its ranked lists, for commands that look at one stage alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rankwright.data.files import close_names
from rankwright.data.trec import read_run
from rankwright.data.types import Qrels, RankingData, Run
from rankwright.errors import DataNotFoundError, EmptyDataError, InputError, UnknownIdError
from rankwright.mining import BM25, DenseRetriever, EmbeddingModel, FirstStage, retrieve
from rankwright.recipes.recipe import FirstStageRecipe

__all__ = ["Search", "Searched", "judged_queries", "search"]

ALL = "all"


@dataclass(frozen=True)
class Search:
    """What to search with.

    Attributes:
        recipe: Language and embedding model.
        first_stage: ``"bm25"``, ``"dense"`` or a TREC run file; None takes dense search where the
            recipe names an embedding model and BM25 elsewhere.
        depth: Documents per query.
        progress: Show progress bars; None shows them when logging is at INFO or lower.
    """

    recipe: FirstStageRecipe
    first_stage: str | None = None
    depth: int = 100
    progress: bool | None = None


@dataclass(frozen=True)
class Searched:
    """Ranked lists and where they come from.

    Attributes:
        name: ``"BM25"``, ``"dense"``, or the run file's name.
        run: Query id -> document id -> score, at most ``depth`` documents each.
        stage: The stage, ready to search; None for a run file.
    """

    name: str
    run: Run
    stage: FirstStage | None


def search(what: Search, corpus: Mapping[str, str], queries: Mapping[str, str]) -> Searched:
    """The best documents of every query.

    Raises:
        InputError: Dense search without an embedding model.
        DataNotFoundError: The first stage is neither a known name nor a file.
        UnknownIdError: A run file that has none of the queries.
        FormatError, ModelError, …: A run file or an embedding model that cannot be used.
    """
    recipe = what.recipe
    name = (what.first_stage or ("dense" if recipe.embedder else "bm25")).strip()
    if name.lower() == "bm25":
        stage: FirstStage = BM25(language=recipe.language)
        label = "BM25"
    elif name.lower() == "dense":
        if recipe.embedder is None:
            raise InputError(
                "Dense search needs an embedding model: name a folder or a hub model with "
                "--embedder, such as sentence-transformers/all-MiniLM-L6-v2."
            )
        stage = DenseRetriever(EmbeddingModel(recipe.embedder, "auto", recipe.embedder_max_length))
        label = "dense"
    else:
        return _read(Path(name).expanduser(), what.depth, queries)
    found = retrieve(stage, corpus, queries, what.depth, what.progress)
    return Searched(label, found, stage)


def _read(path: Path, depth: int, queries: Mapping[str, str]) -> Searched:
    if not path.is_file():
        raise DataNotFoundError(
            f"The first stage '{path}' is neither bm25 nor dense nor a TREC run file."
            f"{close_names(path)}"
        )
    whole = read_run(path)
    known = [query for query in queries if query in whole]
    if not known:
        found, wanted = next(iter(whole), "nothing"), next(iter(queries))
        raise UnknownIdError(
            f"{path} has none of the {len(queries)} queries to rank; its ids look like "
            f"'{found}', those of the data like '{wanted}'. Use the run of this data set."
        )
    run = {query: _top(whole.get(query, {}), depth) for query in queries}
    return Searched(path.name, run, None)


def _top(documents: Mapping[str, float], depth: int) -> dict[str, float]:
    # equal scores by id descending, as the evaluation breaks ties
    best = sorted(((score, key) for key, score in documents.items()), reverse=True)[:depth]
    return {key: score for score, key in best}


def judged_queries(data: RankingData, split: str) -> Qrels:
    """Judgements of a split, or of all splits for ``"all"``, for queries with an answer.

    Raises:
        InputError: No split of that name.
        EmptyDataError: None of its queries has a relevant document.
    """
    if split != ALL and split not in data.qrels:
        raise InputError(
            f"The data has no split '{split}'. Choose one of: {', '.join([*data.qrels, ALL])}."
        )
    names = list(data.qrels) if split == ALL else [split]
    qrels: Qrels = {}
    for name in names:
        for query, judged in data.qrels[name].items():
            if any(grade > 0 for grade in judged.values()):
                qrels.setdefault(query, {}).update(judged)
    if not qrels:
        raise EmptyDataError(
            f"No query of the split '{split}' of {data.source or 'the data'} has a relevant "
            "document (a grade above 0)."
        )
    return qrels
