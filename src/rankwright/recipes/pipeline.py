"""The main job: from queries and documents to a reranker, or to an honest no.

::

    data -> first stages -> negatives -> base -> training -> fusion -> test -> folder
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.data import content_hash, find_leaks, load_data
from rankwright.data.types import Qrels, RankingData, Run
from rankwright.errors import EmptyDataError
from rankwright.evaluation import Fusion, rerank_run, tune_fusion
from rankwright.recipes.candidates import find_candidates
from rankwright.recipes.carding import fill_card
from rankwright.recipes.judging import BASE, FUSED, TUNED, PipelineResult, System, judge
from rankwright.recipes.recipe import Recipe
from rankwright.recipes.rows import training_rows
from rankwright.recipes.tuning import TrainingPlan, train
from rankwright.recipes.workspace import Workspace
from rankwright.recipes.yaml_io import dump_recipe

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["PipelineOptions", "PipelineResult", "run_pipeline"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineOptions:
    """How a run is carried out; what it computes is in the recipe.

    Attributes:
        resume: Take up what an interrupted run of the same recipe left.
        overwrite: Replace what is in the output folder.
        progress: Show progress bars; None shows them when logging is at INFO or lower.
    """

    resume: bool = False
    overwrite: bool = False
    progress: bool | None = None


def run_pipeline(
    recipe: Recipe, options: PipelineOptions | None = None, data: RankingData | None = None
) -> PipelineResult:
    """Trains a reranker and compares it with what was there before.

    The model is saved in ``recipe.output`` only if it is better, on the test queries, than every
    first stage and than the base; otherwise it goes to ``rejected-model`` inside, for study.

    Args:
        recipe: What to do.
        options: How.
        data: Takes the place of ``recipe.data.source``.

    Raises:
        RankwrightError: Anything wrong in recipe, data or model, before the long work starts
            where it can be known by then.
    """
    options = options or PipelineOptions()
    started = time.perf_counter()
    work = Workspace(Path(recipe.output))
    work.open(dump_recipe(recipe), resume=options.resume, overwrite=options.overwrite)
    finished = work.results() if options.resume else None
    if finished is not None:
        logger.info("The run in %s is finished already.", work.output)
        return PipelineResult(**finished)
    data = data or load_data(recipe.data.source, recipe.data.load_options(recipe.seed))
    data = _limited(data, recipe)
    warnings = _warnings(data)
    model = _base_model(recipe)
    candidates = find_candidates(data, recipe, work)
    rows = training_rows(data, candidates, recipe)

    depth = recipe.first_stage.depth
    dev, test = candidates.top("dev", depth), candidates.top("test", depth)
    base = _reranked(model, "base", test, data, recipe, work, options)
    plan = TrainingPlan(rows, dev, data.qrels["dev"], data.queries, data.corpus)
    on_dev = train(model, plan, recipe, work, options.resume, options.progress)
    tuned = rerank_run(
        model, test, data.queries, data.corpus, depth=depth, show_progress_bar=options.progress
    )
    fusion = None
    if recipe.evaluation.fusion:
        on_dev = (
            on_dev
            or rerank_run(
                model,
                dev,
                data.queries,
                data.corpus,
                depth=depth,
                show_progress_bar=options.progress,
            ).run
        )
        fusion = _fusion(on_dev, dev, data, candidates.best, recipe)

    systems = [System(name, runs["test"]) for name, runs in candidates.runs.items()]
    systems += [base, System(TUNED, tuned.run, tuned.pairs_per_second)]
    if fusion is not None:
        model.fusion = fusion.to_dict()
        systems.append(System(FUSED, fusion.apply(tuned.run, test), tuned.pairs_per_second))
    judgement = judge(
        systems, list(candidates.runs), data.qrels["test"], recipe.evaluation.measures
    )
    target = work.output if judgement.better else work.rejected
    result = PipelineResult(
        rows=judgement.rows,
        better=judgement.better,
        verdict=judgement.verdict,
        model_path=str(target) if judgement.better else None,
        output=str(work.output),
        warnings=warnings,
        seconds=time.perf_counter() - started,
        comparison=judgement.comparison,
        fusion=None if fusion is None else fusion.to_dict(),
    )
    fill_card(model, recipe, result, data)
    model.save_pretrained(str(target))
    work.write_results(result.to_dict())
    return result


def _base_model(recipe: Recipe) -> CrossEncoder:
    from transformers import set_seed

    from rankwright.model import CrossEncoder

    set_seed(recipe.seed)
    prompt = recipe.model.prompt
    model = CrossEncoder(
        recipe.model.base,
        num_labels=1,
        max_length=recipe.model.max_length,
        precision=recipe.model.precision,
        prompts=None if prompt is None else {"query": prompt},
        default_prompt_name=None if prompt is None else "query",
        # A loss over a query's list says nothing of absolute relevance, so a sigmoid would only
        # squeeze the scores together.
        activation_fn=None if recipe.training.loss == "bce" else "identity",
        seed=recipe.seed,
    )
    model.check_savable()
    return model


def _limited(data: RankingData, recipe: Recipe) -> RankingData:
    """At most as many dev and test queries as the recipe allows; those without answers left out."""
    limits: dict[str, int | None] = {
        "dev": recipe.training.max_dev_queries,
        "test": recipe.evaluation.max_test_queries,
    }
    qrels: dict[str, Qrels] = {}
    for split, judged in data.qrels.items():
        useful = {q: d for q, d in judged.items() if any(grade > 0 for grade in d.values())}
        order = list(useful)
        most = limits.get(split)
        if most is not None and len(order) > most:
            # Files are often sorted by topic; a sample must not be one topic.
            order = sorted(order, key=lambda q: content_hash([recipe.seed, q]))[:most]
        qrels[split] = {q: useful[q] for q in order}
    for split in ("train", "dev", "test"):
        if not qrels.get(split):
            raise EmptyDataError(
                f"the {split} split of {data.source or 'the data'} has no query with a relevant "
                "document; training, choosing and judging need one each."
            )
    return replace(data, qrels=qrels)


def _warnings(data: RankingData) -> list[str]:
    leaks = find_leaks(data.qrels, data.queries)
    found = []
    if leaks:
        found.append(
            f"{len(leaks)} queries stand in more than one split (for example "
            f"{data.queries[leaks[0].query_ids[0]]!r} in {' and '.join(leaks[0].splits)}): "
            "the test figures are too good by what the model remembers of them."
        )
    if len(data.qrels["test"]) < 50:
        found.append(
            f"only {len(data.qrels['test'])} test queries: differences below "
            f"{1.0 / len(data.qrels['test']) ** 0.5:.2f} or so are noise."
        )
    for warning in found:
        logger.warning("%s", warning)
    return found


def _reranked(
    model: CrossEncoder,
    name: str,
    run: Run,
    data: RankingData,
    recipe: Recipe,
    work: Workspace,
    options: PipelineOptions,
) -> System:
    """The base on the test candidates; kept, because it is slow and never changes."""
    speed: dict[str, Any] = {}

    def make() -> Run:
        found = rerank_run(
            model,
            run,
            data.queries,
            data.corpus,
            depth=recipe.first_stage.depth,
            show_progress_bar=options.progress,
        )
        speed["pairs_per_second"] = found.pairs_per_second
        return found.run

    key = [asdict(recipe.model), recipe.seed, run, data.corpus, data.queries]
    scored = work.run(name, key, make)
    speed = work.remember(f"{name}-speed", key, lambda: speed)
    return System(BASE, scored, speed.get("pairs_per_second"))


def _fusion(on_dev: Run, dev: Run, data: RankingData, stage: str, recipe: Recipe) -> Fusion:
    """The mixture of reranker and first stage that ranks the dev split best."""
    measure = recipe.evaluation.select_by
    found = tune_fusion(data.qrels["dev"], on_dev, dev, measure, name=stage)
    logger.info("Fusion on dev: %s (%s %.4f)", found.fusion, found.measure, found.value)
    return found.fusion
