"""The main job on a small task: learnt, refused, interrupted, resumed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rankwright.data import RankingData, write_beir
from rankwright.errors import ConfigError, EmptyDataError, InputError
from rankwright.model import CrossEncoder
from rankwright.recipes import candidates as candidates_module
from rankwright.recipes.pipeline import PipelineOptions, run_pipeline
from rankwright.recipes.recipe import (
    DataRecipe,
    EvaluationRecipe,
    FirstStageRecipe,
    MiningRecipe,
    ModelRecipe,
    Recipe,
    TrainingRecipe,
)
from rankwright.recipes.tuning import DevEvaluator
from tests.tiny import save_tiny

QUIET = PipelineOptions(progress=False)


def learnable_data(queries: int = 120, *, solved: bool = False) -> RankingData:
    """BM25 cannot tell a query's documents apart; a word that marks the right one can be learnt.

    With ``solved`` only the right document names the topic, so BM25 makes no mistake.
    """
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts, corpus, qrels = {}, {}, {}
    for number in range(queries):
        topic = "".join(rng.choice(letters) for _ in range(4))
        query = f"q{number}"
        texts[query] = f"open {topic} files"
        right = rng.randrange(4)
        for i in range(4):
            mark = "return value" if i == right else "error value"
            named = "some" if solved and i != right else topic
            corpus[f"{query}-{i}"] = f"open {named} files {mark} {query}-{i}"
        qrels[query] = {f"{query}-{right}": 1}
    names = list(qrels)
    share = queries // 4  # a quarter each for dev and test
    splits = {"dev": names[:share], "test": names[share : 2 * share], "train": names[2 * share :]}
    return RankingData(
        queries=texts,
        corpus=corpus,
        qrels={split: {q: qrels[q] for q in part} for split, part in splits.items()},
        source="a small task",
    )


def recipe_for(tmp_path: Path, **training: object) -> Recipe:
    base = tmp_path / "base"
    if not base.exists():
        save_tiny(base, "bert")
    settings = {"learning_rate": 5e-3, "epochs": 5.0, "queries_per_step": 8, "eval_times": 3}
    return Recipe(
        data=DataRecipe(source="given"),
        model=ModelRecipe(base=str(base), max_length=32, precision="float32"),
        output=str(tmp_path / "run"),
        first_stage=FirstStageRecipe(language="english", depth=8),
        mining=MiningRecipe(num_negatives=3),
        training=TrainingRecipe(**(settings | training)),
        evaluation=EvaluationRecipe(),
        seed=3,
    )


def test_learns_and_saves_a_model_that_is_better(tmp_path: Path) -> None:
    result = run_pipeline(recipe_for(tmp_path), QUIET, learnable_data())
    rows = {row["system"]: row for row in result.rows}
    assert list(rows) == ["BM25", "base", "tuned", "tuned + first stage"]
    assert rows["tuned"]["nDCG@10"] > rows["BM25"]["nDCG@10"] + 0.1
    assert rows["tuned"]["pairs_per_second"] > 0
    assert rows["BM25"]["pairs_per_second"] is None
    assert result.better
    assert result.verdict.startswith("Better")
    assert result.comparison["ci_low"] > 0
    assert result.model_path == str(tmp_path / "run")

    model = CrossEncoder(result.model_path)
    assert model.fusion == result.fusion
    ranked = model.rank("open abcd files", ["open abcd files error", "open abcd files return"])
    assert ranked[0]["corpus_id"] == 1
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert result.verdict in card
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == result.to_dict()
    assert "num_negatives: 3" in (tmp_path / "run" / "recipe.yaml").read_text()

    again = run_pipeline(recipe_for(tmp_path), replace(QUIET, resume=True), learnable_data())
    assert again == result, "a finished run is not repeated"


def test_a_model_that_is_not_better_is_refused(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, learning_rate=1e-9, epochs=0.5)
    result = run_pipeline(recipe, QUIET, learnable_data(solved=True))
    assert result.rows[0]["nDCG@10"] == 1.0
    assert not result.better
    assert result.verdict.startswith("NOT BETTER")
    assert result.model_path is None
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert (tmp_path / "run" / "rejected-model" / "model.safetensors").is_file()
    assert result.verdict in (tmp_path / "run" / "rejected-model" / "README.md").read_text()


@pytest.mark.parametrize("loss", ["listnet", "lambda"])
def test_other_losses_for_lists(tmp_path: Path, loss: str) -> None:
    recipe = recipe_for(tmp_path, loss=loss)
    run_pipeline(recipe, QUIET, learnable_data())
    assert CrossEncoder(recipe.output).activation_fn.__class__.__name__ == "Identity"


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["group-softmax", "bce"])
def test_interrupted_and_resumed_is_as_if_never_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    whole = recipe_for(tmp_path, loss=loss)
    run_pipeline(whole, QUIET, learnable_data())
    expected = load_file(Path(whole.output) / "model.safetensors")

    recipe = replace(whole, output=str(tmp_path / "interrupted"))
    original = DevEvaluator.__call__
    calls = []

    def interrupt(self: DevEvaluator, *args: object, **kwargs: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(DevEvaluator, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(recipe, QUIET, learnable_data())
    assert not (tmp_path / "interrupted" / "model.safetensors").exists()
    monkeypatch.setattr(DevEvaluator, "__call__", original)

    def no_retrieval(*args: object) -> None:
        raise AssertionError("finished stages are taken from the workspace")

    # BM25 gives many ties here: kept or made afresh, they must stand in the same order.
    monkeypatch.setattr(candidates_module, "_retrieve", no_retrieval)
    run_pipeline(recipe, replace(QUIET, resume=True), learnable_data())
    found = load_file(tmp_path / "interrupted" / "model.safetensors")
    assert all((found[name] == expected[name]).all() for name in expected)


def test_a_former_model_is_set_aside_not_taken_for_the_new_one(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path)
    assert run_pipeline(recipe, QUIET, learnable_data()).better
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    useless = recipe_for(tmp_path, learning_rate=1e-9, epochs=0.5)
    overwrite = replace(QUIET, overwrite=True)
    assert not run_pipeline(useless, overwrite, learnable_data(solved=True)).better
    assert not (tmp_path / "run" / "config.json").exists()
    assert (tmp_path / "run" / "previous-model" / "model.safetensors").read_bytes() == before
    assert run_pipeline(recipe, overwrite, learnable_data()).better
    assert not (tmp_path / "run" / "rejected-model").exists()


def test_resuming_with_another_recipe_is_refused(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, epochs=0.5)
    run_pipeline(recipe, QUIET, learnable_data())
    other = replace(recipe, seed=4)
    with pytest.raises(ConfigError, match="seed: 3.*seed: 4"):
        run_pipeline(other, replace(QUIET, resume=True), learnable_data())
    with pytest.raises(InputError, match="already holds files.*--resume.*--overwrite"):
        run_pipeline(recipe, QUIET, learnable_data())
    run_pipeline(other, replace(QUIET, overwrite=True), learnable_data())


def test_a_split_without_answers_is_refused(tmp_path: Path) -> None:
    data = learnable_data()
    empty = {q: dict.fromkeys(docs, 0) for q, docs in data.qrels["dev"].items()}
    data = replace(data, qrels={**data.qrels, "dev": empty})
    with pytest.raises(EmptyDataError, match="dev split of a small task"):
        run_pipeline(recipe_for(tmp_path), QUIET, data)


def test_a_leak_is_named(tmp_path: Path) -> None:
    data = learnable_data()
    train, test = next(iter(data.qrels["train"])), next(iter(data.qrels["test"]))
    queries = {**data.queries, test: data.queries[train].upper()}
    recipe = recipe_for(tmp_path, epochs=0.5)
    result = run_pipeline(recipe, QUIET, replace(data, queries=queries))
    assert any("1 queries stand in more than one split" in w for w in result.warnings)


def test_given_candidates_are_what_is_reranked(tmp_path: Path) -> None:
    data = learnable_data()
    test = {q: dict.fromkeys([f"{q}-0", f"{q}-1"], 0.0) for q in data.qrels["test"]}
    recipe = recipe_for(tmp_path, epochs=0.5)
    run_pipeline(recipe, QUIET, replace(data, candidates={"test": test}))
    kept = sorted((tmp_path / "run" / "work").glob("base-*.trec"))
    lines = kept[0].read_text().splitlines()
    assert len(lines) == 2 * len(test)


@pytest.mark.slow
def test_kill_9_on_the_command_line(tmp_path: Path) -> None:
    write_beir(learnable_data(), tmp_path / "data")
    recipe_for(tmp_path)

    def command(output: str, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "rankwright.cli.main", "train", "--data"),
            *(str(tmp_path / "data"), "--base", str(tmp_path / "base"), "--output"),
            *(str(tmp_path / output), "--max-length", "32", "--precision", "float32"),
            *("--epochs", "12", "--learning-rate", "5e-3", "--negatives", "3", "--seed", "3"),
            *more,
        ]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(
        command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = tmp_path / "killed" / "work" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*/checkpoint_complete.json")):
        assert process.poll() is None, "it ended before the first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "results.json").exists()
    subprocess.run(command("killed", "--resume"), check=True, capture_output=True)
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    found = load_file(tmp_path / "killed" / "model.safetensors")
    assert all((found[name] == expected[name]).all() for name in expected)
