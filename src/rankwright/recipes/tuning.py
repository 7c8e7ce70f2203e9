"""The training stage of a run: rows in, the best checkpoint's weights in the model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.data.types import Qrels, Run
from rankwright.evaluation import evaluate_run, rerank_run, tune_fusion
from rankwright.evaluation.base import BaseEvaluator
from rankwright.recipes.recipe import LossName, Recipe
from rankwright.recipes.workspace import Workspace

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["DevEvaluator", "TrainingPlan", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What to train on, and what to choose the checkpoint by.

    Attributes:
        rows: Training rows with ``query``, ``documents`` and ``labels``.
        dev: Candidates of the dev split.
        dev_qrels: Their judgements.
        queries: Texts by id.
        corpus: Texts by id.
    """

    rows: list[dict[str, Any]]
    dev: Run
    dev_qrels: Qrels
    queries: dict[str, str]
    corpus: dict[str, str]


class DevEvaluator(BaseEvaluator):
    """Reranks the dev split's candidates as the finished system will: alone and fused.

    Attributes:
        runs: Step -> what the model of that step made of the candidates.
    """

    def __init__(self, plan: TrainingPlan, recipe: Recipe, progress: bool | None) -> None:
        super().__init__()
        self.plan = plan
        self.recipe = recipe
        self.progress = progress
        self.runs: dict[int, Run] = {}
        self.primary_metric = "dev_fused" if recipe.evaluation.fusion else "dev"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """``dev`` and, with fusion, ``dev_fused``: the selecting measure on the dev split."""
        plan, recipe = self.plan, self.recipe
        measure = recipe.evaluation.select_by
        found = rerank_run(
            model,
            plan.dev,
            plan.queries,
            plan.corpus,
            depth=recipe.first_stage.depth,
            show_progress_bar=self.progress,
        )
        self.runs[steps] = found.run
        metrics = {"dev": evaluate_run(plan.dev_qrels, found.run, [measure]).mean[measure]}
        if recipe.evaluation.fusion:
            tuned = tune_fusion(plan.dev_qrels, found.run, plan.dev, measure)
            metrics["dev_fused"] = tuned.value
        logger.info("Dev %s at step %d: %s", measure, steps, metrics)
        return metrics


def train(
    model: CrossEncoder,
    plan: TrainingPlan,
    recipe: Recipe,
    work: Workspace,
    resume: bool,
    progress: bool | None,
) -> Run | None:
    """Trains in place; at the end the model has the weights that did best on the dev split.

    Returns:
        The dev split as those weights rank it; None if that was found out before an interruption.
    """
    from datasets import Dataset

    from rankwright.engine.precision import resolve_precision
    from rankwright.recipes.progress import use_training_bar
    from rankwright.training import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from rankwright.training.checkpoints import find_checkpoint

    settings = recipe.training
    evaluator = DevEvaluator(plan, recipe, progress)
    steps = _steps(len(plan.rows), recipe)
    every = max(1, -(-steps // settings.eval_times))
    precision = resolve_precision(recipe.model.precision, model.device)
    rows = _rows(plan.rows, settings.loss)
    args = CrossEncoderTrainingArguments(
        output_dir=str(work.checkpoints),
        per_device_train_batch_size=settings.queries_per_step,
        max_steps=steps,
        learning_rate=settings.learning_rate,
        learning_rate_mapping=_head_rate(model, settings.head_learning_rate),
        warmup_ratio=settings.warmup,
        weight_decay=settings.weight_decay,
        bf16=str(precision) == "torch.bfloat16",
        fp16=str(precision) == "torch.float16",
        use_cpu=model.device.type == "cpu",
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{evaluator.primary_metric}",
        greater_is_better=True,
        logging_steps=max(1, every // 4),
        dataloader_num_workers=settings.workers,
        disable_tqdm=True,  # use_training_bar has its own
        report_to="none",
        seed=recipe.seed,
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        loss=_loss(settings.loss, model),
        evaluator=evaluator,
    )
    use_training_bar(trainer, progress)
    checkpoint: Path | None = find_checkpoint(work.checkpoints) if resume else None
    if checkpoint is not None:
        logger.info("Resuming from %s", checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    return evaluator.runs.get(trainer.state.best_global_step)


def _loss(name: LossName, model: CrossEncoder) -> Any:
    from rankwright.losses import BinaryCrossEntropyLoss, GroupSoftmaxLoss, LambdaLoss, ListNetLoss

    kinds: dict[LossName, Any] = {
        "group-softmax": GroupSoftmaxLoss,
        "listnet": ListNetLoss,
        "lambda": LambdaLoss,
        "bce": BinaryCrossEntropyLoss,
    }
    return kinds[name](model)


def _steps(rows: int, recipe: Recipe) -> int:
    settings = recipe.training
    if settings.max_steps is not None:
        return settings.max_steps
    return max(1, round(settings.epochs * rows / settings.queries_per_step))


def _rows(rows: list[dict[str, Any]], loss: str) -> list[dict[str, Any]]:
    """Lists as they are, or one row per pair with labels 0 and 1."""
    if loss != "bce":
        return rows
    return [
        {"query": row["query"], "document": document, "label": float(label > 0)}
        for row in rows
        for document, label in zip(row["documents"], row["labels"], strict=True)
    ]


def _head_rate(model: CrossEncoder, rate: float | None) -> dict[str, float]:
    """A learning rate of its own for everything that is not the pretrained encoder."""
    if rate is None:
        return {}
    prefix = model.model.base_model_prefix
    return {rf"^model\.(?!{prefix}\.)": rate}
