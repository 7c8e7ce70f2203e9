"""First stages of a run: what is retrieved, with what, and how good it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from rankwright.data.types import RankingData, Run
from rankwright.evaluation import evaluate_run
from rankwright.mining import BM25, DenseRetriever, EmbeddingModel, FirstStage, retrieve
from rankwright.recipes.recipe import FirstStageRecipe, Recipe
from rankwright.recipes.workspace import Workspace

__all__ = ["Candidates", "find_candidates", "first_stages"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidates:
    """Ranked lists of every first stage.

    Attributes:
        runs: Stage name -> split -> run, as deep as retrieved.
        best: The stage that ranks the dev split best: the one to rerank and to beat.
        scores: Stage name -> its value of the selecting measure on the dev split.
        stages: The stages themselves, ready to search.
    """

    runs: dict[str, dict[str, Run]]
    best: str
    scores: dict[str, float]
    stages: dict[str, FirstStage] = field(default_factory=dict)

    def top(self, split: str, depth: int) -> Run:
        """The best stage's ``depth`` best documents of every query of a split."""
        return {
            q: dict(list(hits.items())[:depth]) for q, hits in self.runs[self.best][split].items()
        }


def first_stages(
    recipe: FirstStageRecipe, work: Workspace, device: str | None = None
) -> dict[str, Any]:
    """The stages a recipe asks for, by the names its table uses; not yet indexed."""
    stages: dict[str, Any] = {"BM25": BM25(language=recipe.language)}
    if recipe.embedder is not None:
        encoder = EmbeddingModel(
            recipe.embedder,
            precision="auto",
            max_length=recipe.embedder_max_length,
            device=device,
        )
        stages["dense"] = DenseRetriever(encoder, cache_folder=work.work / "embeddings")
    return stages


def find_candidates(data: RankingData, recipe: Recipe, work: Workspace) -> Candidates:
    """Retrieves for all splits with all stages; finished stages are taken from the workspace."""
    depth = max(recipe.first_stage.depth, recipe.mining.window)
    made = first_stages(recipe.first_stage, work)
    splits = [split for split in ("train", "dev", "test") if data.qrels.get(split)]
    runs: dict[str, dict[str, Run]] = {}
    for name, stage in made.items():
        key: list[Any] = [name, recipe.first_stage.language, recipe.first_stage.embedder]
        key += [recipe.first_stage.embedder_max_length, depth, data.corpus, data.queries]
        key += [{split: list(data.qrels[split]) for split in splits}, data.candidates]
        make = partial(_retrieve, stage, data, splits, depth)
        whole = work.run(f"first-stage-{name.lower()}", key, make)
        runs[name] = {s: {q: whole.get(q, {}) for q in data.qrels[s]} for s in splits}
    measure = recipe.evaluation.select_by
    scores = {
        name: evaluate_run(data.qrels["dev"], by_split["dev"], [measure]).mean[measure]
        for name, by_split in runs.items()
    }
    best = max(scores, key=lambda name: scores[name])
    logger.info(
        "First stages on dev: %s; %s is reranked.",
        ", ".join(f"{n} {measure} {v:.4f}" for n, v in scores.items()),
        best,
    )
    return Candidates(runs, best, scores, made)


def _retrieve(stage: FirstStage, data: RankingData, splits: list[str], depth: int) -> Run:
    queries = {q: data.queries[q] for split in splits for q in data.qrels[split]}
    run = retrieve(stage, data.corpus, queries, depth)
    for split in splits:
        if data.candidates.get(split):
            run.update(_score_given(stage, data, data.candidates[split], queries))
    return run


def _score_given(
    stage: FirstStage, data: RankingData, given: Run, queries: Mapping[str, str]
) -> Run:
    """Candidate lists that came with the data, put in order by a stage."""
    rows = {q: i for i, q in enumerate(queries)}
    columns = {d: i for i, d in enumerate(data.corpus)}
    pairs = [(q, d) for q, docs in given.items() if q in rows for d in docs if d in columns]
    scores = stage.score_pairs(
        list(queries.values()),
        np.array([rows[q] for q, _ in pairs], dtype=np.int64),
        np.array([columns[d] for _, d in pairs], dtype=np.int64),
    )
    run: Run = {q: {} for q in given if q in rows}
    for (query, document), value in zip(pairs, scores.tolist(), strict=True):
        run[query][document] = value
    return {
        q: dict(sorted(docs.items(), key=lambda item: (-item[1], item[0])))
        for q, docs in run.items()
    }
