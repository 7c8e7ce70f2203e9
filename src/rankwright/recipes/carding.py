"""What a run writes on its model's card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwright.data.types import RankingData
from rankwright.recipes.judging import BASE, PipelineResult
from rankwright.recipes.recipe import Recipe

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["fill_card"]


def fill_card(
    model: CrossEncoder, recipe: Recipe, result: PipelineResult, data: RankingData
) -> None:
    """Fills the card's results, data, settings and limits from a run."""
    card = model.model_card_data
    card.training_summary |= {
        "queries": f"{len(data.qrels['train']):,} train, {len(data.qrels['dev']):,} dev, "
        f"{len(data.qrels['test']):,} test",
        "documents": f"{len(data.corpus):,}",
        "loss": recipe.training.loss,
        "verdict": result.verdict,
    }
    card.train_datasets = [_shown(data.source)] if data.source else []
    training = recipe.training
    card.hyperparameters |= {
        "learning_rate": training.learning_rate,
        "epochs": training.epochs,
        "queries_per_step": training.queries_per_step,
        "negatives": recipe.mining.num_negatives,
        "seed": recipe.seed,
    }
    for row in result.rows:
        for measure in recipe.evaluation.measures:
            note = row["system"]
            card.add_results("held-out test queries", {measure: row[measure]}, note)
    final, first = result.rows[-1], _best_first_stage(result, recipe)
    card.results = [
        replace(row, baseline=first[row.metric]) if row.note == final["system"] else row
        for row in card.results
    ]
    if not result.better:
        card.limits.insert(0, result.verdict)
    card.limits += result.warnings


def _shown(source: str) -> str:
    """A folder of this machine means nothing to others: its name is enough."""
    return Path(source).name if Path(source).exists() else source


def _best_first_stage(result: PipelineResult, recipe: Recipe) -> dict[str, Any]:
    names = [row["system"] for row in result.rows]
    stages = result.rows[: names.index(BASE)] if BASE in names else result.rows[:-1]
    return max(stages, key=lambda row: float(row[recipe.evaluation.measures[0]]))
