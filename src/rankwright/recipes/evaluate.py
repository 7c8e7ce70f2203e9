"""A model judged beside the first stage it reranks, and beside another model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rankwright.data.types import Qrels, RankingData, Run
from rankwright.errors import InputError
from rankwright.evaluation import Evaluation, Fusion, evaluate_run, paired_test, rerank_run
from rankwright.recipes.recipe import Precision
from rankwright.recipes.searching import Search, judged_queries, search

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder
    from rankwright.model.reranker import Reranker

__all__ = ["EvaluateOptions", "EvaluationReport", "evaluate_model"]

logger = logging.getLogger(__name__)

M = TypeVar("M", "CrossEncoder", "Reranker")

BASE, MODEL, FUSED = "base", "model", "model + first stage"


@dataclass(frozen=True)
class EvaluateOptions:
    """What to judge, and on what.

    Attributes:
        model: Folder or hub name.
        search: The first stage; its depth is how many documents are reranked.
        base: Another model to compare with.
        split: Split of the data, or ``"all"``.
        measures: Names as in ir-measures.
        max_queries: At most this many queries, the first ones.
        max_length: Most tokens per pair; None takes each model's own limit.
        precision: Number format of PyTorch's arithmetic.
        backend: What runs ``model``: ``"torch"``, or for an export ``"onnx"``, ``"openvino"``,
            ``"native"`` or ``"auto"``, perhaps with its precision, as in ``"onnx:int8"``. ``base``
            is run by PyTorch, so the same folder as ``base`` shows what an export costs.
    """

    model: str
    search: Search
    base: str | None = None
    split: str = "test"
    measures: Sequence[str] = ("nDCG@10", "RR@10", "AP")
    max_queries: int | None = None
    max_length: int | None = None
    precision: Precision = "auto"
    backend: str = "torch"


@dataclass(frozen=True)
class EvaluationReport:
    """What was found.

    Attributes:
        rows: One dict per system: ``system``, every measure, ``pairs_per_second``.
        comparisons: One dict per pair of systems and measure: ``system``, ``against``,
            ``measure``, ``difference``, ``p_value``, ``ci_low``, ``ci_high``, ``queries``.
        first_stage: Name of the first stage.
        depth: How many of its documents were reranked.
        recall: Share of the relevant documents among them: no reranker can do better.
        split: The split that was judged.
        queries: How many queries count.
        all_queries: How many the data has in all splits.
        backend: What ran the model: ``"torch"``, or an export as in ``"onnx int8"``.
        warnings: What the user should know.
        run: The model's ranked lists.
    """

    rows: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    first_stage: str
    depth: int
    recall: float
    split: str
    queries: int
    all_queries: int
    backend: str = "torch"
    warnings: list[str] = field(default_factory=list)
    run: Run = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the ranked lists, ready for JSON."""
        values = asdict(self)
        del values["run"]
        return values


def evaluate_model(data: RankingData, options: EvaluateOptions) -> EvaluationReport:
    """Reranks what the first stage found, and nothing else, and measures all systems.

    Raises:
        RankwrightError: Data, models or options that cannot be used; models are loaded before
            anything is searched.
    """
    _check_measures(options.measures)
    qrels = judged_queries(data, options.split)
    qrels = dict(islice(qrels.items(), options.max_queries))
    queries = {query: data.queries[query] for query in qrels}
    models: dict[str, CrossEncoder | Reranker] = {MODEL: _judged(options)}
    if options.base is not None:
        models = {BASE: _load(options.base, options), **models}
    first = search(options.search, data.corpus, queries)
    runs, speeds = {first.name: first.run}, {}
    for name, model in models.items():
        reranked = rerank_run(
            model,
            first.run,
            queries,
            data.corpus,
            depth=options.search.depth,
            show_progress_bar=options.search.progress,
        )
        runs[name], speeds[name] = reranked.run, reranked.pairs_per_second
    warnings = _warnings(qrels)
    model = models[MODEL]
    fusion = model.fusion
    if fusion is not None:
        tuned_for = str(fusion.get("first_stage"))
        if tuned_for.lower() == first.name.lower():
            runs[FUSED] = Fusion.from_dict(fusion).apply(runs[MODEL], first.run)
            speeds[FUSED] = speeds[MODEL]
        else:
            warnings.append(
                f"The model's mixture with the first stage was tuned for '{tuned_for}', so it is "
                f"not shown for '{first.name}'."
            )
    found = {name: evaluate_run(qrels, run, options.measures) for name, run in runs.items()}
    return EvaluationReport(
        rows=[
            {"system": name, **judged.mean, "pairs_per_second": speeds.get(name)}
            for name, judged in found.items()
        ],
        comparisons=_comparisons(found, first.name),
        first_stage=first.name,
        depth=options.search.depth,
        recall=_recall(qrels, first.run),
        split=options.split,
        queries=len(qrels),
        all_queries=len({query for judged in data.qrels.values() for query in judged}),
        backend=_backend(model),
        warnings=warnings,
        run=runs[MODEL],
    )


def _check_measures(measures: Sequence[str]) -> None:
    """Refuses an unknown measure before the long work."""
    evaluate_run({"q": {"d": 1}}, {"q": {"d": 1.0}}, list(measures))


def _judged(options: EvaluateOptions) -> CrossEncoder | Reranker:
    """The model, by the backend that was asked for."""
    backend, _, precision = options.backend.partition(":")
    if backend != "torch":
        from rankwright.model.reranker import Reranker

        return _ranking(
            options.model,
            Reranker(
                options.model,
                backend=backend,
                precision=precision or None,
                max_length=options.max_length,
            ),
        )
    if precision:
        raise InputError(
            f"backend={options.backend!r}: PyTorch's number format is chosen by precision, such as "
            "--precision float32; only exports are named like onnx:int8."
        )
    return _load(options.model, options)


def _load(name: str, options: EvaluateOptions) -> CrossEncoder:
    from rankwright.model import CrossEncoder

    return _ranking(
        name, CrossEncoder(name, max_length=options.max_length, precision=options.precision)
    )


def _backend(model: CrossEncoder | Reranker) -> str:
    from rankwright.model.reranker import Reranker

    return f"{model.backend} {model.precision}" if isinstance(model, Reranker) else "torch"


def _ranking(name: str, model: M) -> M:
    if model.num_labels != 1:
        raise InputError(
            f"{name} gives {model.num_labels} scores per pair; a reranker gives one. Use a model "
            "with num_labels=1."
        )
    return model


def _warnings(qrels: Qrels) -> list[str]:
    if len(qrels) < 50:
        return [f"Only {len(qrels)} queries: small differences are noise."]
    return []


def _recall(qrels: Qrels, run: Run) -> float:
    """Mean share of a query's relevant documents that the run has."""
    shares = []
    for query, judged in qrels.items():
        relevant = [d for d, grade in judged.items() if grade > 0]
        shares.append(sum(d in run.get(query, {}) for d in relevant) / len(relevant))
    return sum(shares) / len(shares)


def _comparisons(found: dict[str, Evaluation], first: str) -> list[dict[str, Any]]:
    pairs = [(MODEL, first)]
    if BASE in found:
        pairs.append((MODEL, BASE))
    if FUSED in found:
        pairs.append((FUSED, first))
    return [
        {
            "system": system,
            "against": against,
            "measure": measure,
            **asdict(paired_test(values, found[against].per_query[measure])),
        }
        for system, against in pairs
        for measure, values in found[system].per_query.items()
    ]
