"""What the main job writes on the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankwright import CrossEncoder, RankingData
from rankwright.recipes.carding import fill_card
from rankwright.recipes.judging import PipelineResult
from rankwright.recipes.recipe import DataRecipe, ModelRecipe, Recipe
from tests.tiny import tiny_model


@pytest.mark.parametrize("better", [True, False])
def test_results_stand_beside_those_of_the_best_first_stage(tmp_path: Path, better: bool) -> None:
    model = CrossEncoder.from_transformers(*tiny_model("bert"))
    model.model_card_data.training_summary["optimiser steps"] = 12
    recipe = Recipe(DataRecipe("data"), ModelRecipe("base"), "out")
    main, *rest = recipe.evaluation.measures
    values = {"bm25": 0.3, "dense": 0.4, "base": 0.2, "tuned": 0.5, "tuned + first stage": 0.6}
    found = [
        {"system": name, main: value, **dict.fromkeys(rest, value / 2), "pairs_per_second": 1.0}
        for name, value in values.items()
    ]
    result = PipelineResult(found, better, "The verdict.", None, "out", warnings=["Few queries."])
    source = tmp_path / "secret-place" / "our-data"
    source.mkdir(parents=True)
    data = RankingData(
        queries={"q": "a"},
        corpus={"d": "b"},
        qrels={split: {"q": {"d": 1}} for split in ("train", "dev", "test")},
        source=str(source),
    )
    fill_card(model, recipe, result, data)
    card = model.model_card_data
    rows = {(row.note, row.metric): row for row in card.results}
    assert rows["tuned + first stage", main].baseline == 0.4
    assert rows["tuned + first stage", rest[0]].baseline == 0.2
    assert rows["tuned", main].baseline is None
    assert card.train_datasets == ["our-data"]
    assert card.training_summary["optimiser steps"] == 12
    assert card.training_summary["verdict"] == "The verdict."
    assert card.limits == ([] if better else ["The verdict."]) + ["Few queries."]
    model.save_pretrained(tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| 0.4000 | 0.6000 | tuned + first stage |" in text
    assert "secret-place" not in text
    assert (tmp_path / "out" / "base_to_reranked.png").is_file()
