"""What a run writes on its model's card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.data.types import RankingData
from rankwright.recipes.judging import PipelineResult
from rankwright.recipes.recipe import Recipe

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder

__all__ = ["fill_card"]


def fill_card(
    model: CrossEncoder, recipe: Recipe, result: PipelineResult, data: RankingData
) -> None:
    """Fills the card's results, data, settings and limits from a run."""
    card = model.model_card_data
    card.training_summary = {
        "queries": f"{len(data.qrels['train']):,} train, {len(data.qrels['dev']):,} dev, "
        f"{len(data.qrels['test']):,} test",
        "documents": f"{len(data.corpus):,}",
        "loss": recipe.training.loss,
        "verdict": result.verdict,
    }
    card.train_datasets = [data.source] if data.source else []
    training = recipe.training
    card.hyperparameters = {
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
    if not result.better:
        card.limits.insert(0, result.verdict)
    card.limits += result.warnings
