"""The loss benchmark: equal work for every loss, and a page that follows its results."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from statistics import mean
from typing import Any

import pytest
from benchmarks import losses, losses_runs, losses_table
from benchmarks.markers import put_between_markers, with_text

import rankwright
from rankwright.data.types import RankingData

SETTINGS = losses_runs.Settings(dev=4, test=5, depth=6)


@pytest.fixture(scope="module")
def data() -> RankingData:
    """60 topics; the answer to each question shares its words with half of the others."""
    words = "alpha beta".split()
    corpus = {f"d{i}": f"{words[i % 2]} part {i} of the answer" for i in range(60)}
    queries = {f"q{i}": f"which {words[i % 2]} part {i}" for i in range(60)}
    numbers = {"train": range(40), "dev": range(40, 50), "test": range(50, 60)}
    qrels = {split: {f"q{i}": {f"d{i}": 1} for i in found} for split, found in numbers.items()}
    return RankingData(queries, corpus, qrels)


@pytest.fixture
def prepared(data: RankingData, monkeypatch: pytest.MonkeyPatch) -> losses_runs.Prepared:
    monkeypatch.setitem(losses_runs.SETS, "toy", losses_runs.SetSize(max_length=16, train=24))
    return losses_runs.prepare("toy", data, SETTINGS)


def test_sets_are_cut_down_the_same_way_every_time(
    data: RankingData, prepared: losses_runs.Prepared
) -> None:
    again = losses_runs.prepare("toy", data, SETTINGS)
    assert (again.dev, again.test) == (prepared.dev, prepared.test)
    assert (len(prepared.dev), len(prepared.test)) == (4, 5)
    assert set(prepared.test) <= set(data.qrels["test"])
    assert all(len(documents) == 6 for documents in prepared.test.values())


def test_given_candidates_are_all_that_is_ranked(
    data: RankingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses_runs.SETS, "toy", losses_runs.SetSize(max_length=16, train=24))
    given = {q: {"d1": 1.0, "d7": 1.0, docs_of(q): 1.0} for q in data.qrels["test"]}
    limited = replace(data, candidates={"test": given})
    found = losses_runs.prepare("toy", limited, SETTINGS)
    for query, documents in found.test.items():
        assert set(documents) == {"d1", "d7", docs_of(query)}
        assert next(iter(documents)) == docs_of(query)  # BM25 knows it by its number


def docs_of(query: str) -> str:
    return query.replace("q", "d")


def test_rows_have_the_relevant_document_first_and_follow_the_seed(
    prepared: losses_runs.Prepared,
) -> None:
    rows = losses_runs.training_rows(prepared, SETTINGS, seed=12)
    assert rows == losses_runs.training_rows(prepared, SETTINGS, seed=12)
    assert rows != losses_runs.training_rows(prepared, SETTINGS, seed=13)
    assert len(rows) == 24
    for row in rows:
        number = row["query"].rsplit(" ", 1)[1]
        assert f" {number} " in row["documents"][0]
        assert len(set(row["documents"])) == 1 + SETTINGS.negatives
        word = row["query"].split()[1]
        assert all(document.startswith(word) for document in row["documents"][:3])  # hard ones


def test_every_loss_gets_the_same_pairs(prepared: losses_runs.Prepared) -> None:
    rows = losses_runs.training_rows(prepared, SETTINGS, seed=12)
    sizes = {}
    for name, choice in losses_runs.LOSSES.items():
        made = losses_runs.columns(rows, choice, SETTINGS)
        assert [row["query"] for row in made] == [row["query"] for row in rows]
        if choice.in_batch:
            own = [[v for k, v in row.items() if k != "query"] for row in made]
            assert own == [row["documents"][: 1 + SETTINGS.hard] for row in rows]
            sizes[name] = len(own[0]) + SETTINGS.random
        else:
            assert [row["documents"] for row in made] == [row["documents"] for row in rows]
            assert made[0]["labels"] == [1.0, 0.0, 0.0, 0.0]
            sizes[name] = len(made[0]["labels"])
    assert set(sizes.values()) == {1 + SETTINGS.negatives}


def test_the_losses_exist_and_all_come_before_the_next_seed() -> None:
    assert losses.available(list(losses_runs.LOSSES)) == list(losses_runs.LOSSES)
    order = list(losses.names(["a", "b"], ["x", "y"], [1, 2]))
    assert [seed for *_, seed in order] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert len(set(order)) == 8


@pytest.mark.slow
def test_one_run(
    prepared: losses_runs.Prepared, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from tests.tiny import tiny_model

    folder = tmp_path_factory.mktemp("encoder")
    model, tokenizer = tiny_model("bert")
    model.base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setattr(losses_runs, "minilm_folder", lambda: str(folder))
    for name in ("mnrl", "bce"):
        row = losses_runs.run(prepared, losses_runs.LOSSES[name], 12, SETTINGS)
        assert (row["steps"], row["pairs"], row["test_queries"]) == (3, 96, 5)
        assert all(0 <= row[system] <= 1 for system in ("first_stage", "tuned", "fused"))
        json.dumps(row)


# --- the page ----------------------------------------------------------------------------------


def recorded() -> dict[str, Any]:
    """Two sets, three losses, two seeds; the second seed of one set is not complete."""
    rows = {}
    plan = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    chosen = ("GroupSoftmaxLoss", "RankNetLoss", "ListNetLoss")
    for (name, seed), (place, loss) in product(plan, enumerate(chosen)):
        if (name, seed, loss) == ("b", 2, "ListNetLoss"):
            continue
        rows[f"{name}/{loss}/{seed}"] = {
            "set": name,
            "loss": loss,
            "title": loss.removesuffix("Loss"),
            "seed": seed,
            "steps": 3,
            "cpu_seconds_training": 10.0,
            "first_stage": 0.25,
            "tuned": 0.3 + 0.1 * (name == "b") + 0.02 * seed + 0.01 * place,
            "fused": 0.5 + 0.01 * place * seed,
            "date": "2026-01-31",
        }
    return {
        "machine": {"cpu": "Some CPU", "cores": 2},
        "settings": vars(losses_runs.Settings()) | {"measure": "nDCG@10"},
        "sets": {"a": {}, "b": {}},
        "rows": rows,
    }


def test_the_tables_are_made_from_the_results() -> None:
    lines = losses_table.render(recorded()).splitlines()
    assert lines[0] == (
        "| loss | a, alone | a, fused | b, alone | b, fused | mean, alone | mean, fused "
        "| training, CPU s |"
    )
    assert lines[2] == ("| *BM25 alone* | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 |  |")
    # tuned of a: .34 and .36; fused .52 and .54; of b only the complete seed: .44 and .52
    assert lines[3] == (
        "| ListNet | 0.350 ± 0.014 | 0.530 ± 0.014 | 0.440 | 0.520 | 0.395 | 0.525 | 10 |"
    )
    assert lines[5].startswith("| **GroupSoftmax** | 0.330 ± 0.014 |")
    assert lines[9].startswith("| ListNet | +0.020 ± 0.000 | +0.027 ± 0.007 | 3 of 3 |")
    assert "over seeds (a 1 2, b 1)" in lines[-1]
    assert mean((0.02, 0.04, 0.02)) == pytest.approx(0.0267, abs=1e-4)


def test_runs_of_an_incomplete_seed_do_not_count() -> None:
    results = recorded()
    assert len(results["rows"]) == 11
    assert len(losses_table.counted(results)) == 9
    results["rows"] = {k: v for k, v in results["rows"].items() if v["loss"] != "ListNetLoss"}
    results["rows"]["a/ListNetLoss/9"] = {**results["rows"]["a/RankNetLoss/1"], "seed": 9} | {
        "loss": "ListNetLoss"
    }
    with pytest.raises(SystemExit, match="No set and seed"):
        losses_table.render(results)


def test_the_page_says_what_the_results_say() -> None:
    page = losses_table.PAGE.read_text(encoding="utf-8")
    if not losses_table.RESULTS.is_file():
        assert "Not measured yet" in page
        pytest.skip("benchmarks/results/losses.json is not there: it was not measured yet")
    results = json.loads(losses_table.RESULTS.read_text(encoding="utf-8"))
    text = losses_table.render(results)
    put_between_markers(losses_table.PAGE, losses_table.TABLE, text, check=True)
    assert results["settings"]["steps"] is None


def test_the_page_explains_every_loss() -> None:
    page = losses_table.PAGE.read_text(encoding="utf-8")
    named = [name for name in rankwright.__all__ if name.endswith("Loss") and name != "Loss"]
    assert [name for name in named if f"`{name}`" not in page] == []
    assert with_text(page, losses_table.TABLE, "x") != page
