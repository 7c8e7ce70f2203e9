from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rankwright.errors import DataNotFoundError
from rankwright.recipes.recipe import Recipe
from tests.cli.worlds import ROWS, assert_refused, fake_pipeline, run

NEEDED = ("--data", "pairs.jsonl", "--base", "tiny", "--output", "out")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    monkeypatch.setitem(sys.modules, "rankwright.recipes.pipeline", fake_pipeline(made))
    return made


def with_pipeline(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    monkeypatch.setitem(sys.modules, "rankwright.recipes.pipeline", fake_pipeline([], **options))


def test_flags_become_a_recipe(calls: list[Any]) -> None:
    done = run(
        "train", *NEEDED, "--epochs", "2e-1", "--negatives", "7", "--negative-column", "a",
        "--negative-column", "b", "--drop-empty", "--embedder", "e", "--depth", "9",
        "--precision", "float32", "--seed", "5", "--set", "training.warmup=0.2", "--quiet",
        "--resume",
    )  # fmt: skip
    assert done.code == 0, done.err
    [(recipe, options)] = calls
    assert isinstance(recipe, Recipe)
    assert (recipe.data.source, recipe.model.base, recipe.output) == ("pairs.jsonl", "tiny", "out")
    assert recipe.training.epochs == 0.2
    assert recipe.training.warmup == 0.2
    assert recipe.mining.num_negatives == 7
    assert recipe.data.negative_columns == ("a", "b")
    assert recipe.data.drop_empty is True
    assert recipe.first_stage.embedder == "e"
    assert recipe.first_stage.depth == 9
    assert recipe.model.precision == "float32"
    assert recipe.seed == 5
    assert (options.resume, options.overwrite, options.progress) == (True, False, False)


def test_flags_go_before_the_file(calls: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "data: {source: a.csv, query_column: q}\nmodel: {base: b}\noutput: o\n"
        "training: {epochs: 3, learning_rate: 2e-5}\n"
    )
    assert run("train", "--config", path, "--epochs", 4, "--data", "other.csv").code == 0
    recipe = calls[0][0]
    assert recipe.data.source == "other.csv"
    assert recipe.data.query_column == "q"
    assert recipe.training.epochs == 4.0
    assert recipe.training.learning_rate == 2e-5


def test_the_table_and_the_next_step(calls: list[Any]) -> None:
    done = run("train", *NEEDED)
    assert done.code == 0
    for shown in ("BM25", "0.5000", "0.9000", "0.8750", "1,23", "Better."):
        assert shown in done.out
    assert "a library that prints" not in done.out
    assert "warning: only 10 test queries" in done.err
    assert "rankwright rank --model out" in done.err


def test_json_is_alone_on_standard_output(calls: list[Any]) -> None:
    done = run("train", *NEEDED, "--json")
    assert done.json["rows"] == ROWS
    assert done.json["better"] is True
    assert "Better." in done.err
    assert "a library that prints" in done.err


def test_quiet_json_leaves_warnings_only(calls: list[Any]) -> None:
    done = run("train", *NEEDED, "--json", "--quiet")
    assert done.json["better"] is True
    assert "BM25" not in done.err
    assert "warning: only 10 test queries" in done.err


def test_not_better_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pipeline(monkeypatch, better=False)
    done = run("train", *NEEDED, "--json")
    assert done.code == 3
    assert done.json["better"] is False
    assert "No model is recommended" in done.err


def test_dry_run_prints_the_recipe(calls: list[Any]) -> None:
    done = run("train", *NEEDED, "--dry-run")
    assert done.code == 0
    assert "source: pairs.jsonl" in done.out
    assert calls == []
    assert run("train", *NEEDED, "--dry-run", "--json").json["model"]["base"] == "tiny"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "x", "--base", "b"), ("output is missing", "--output")),
        (("--base", "b", "--output", "o"), ("data.source is missing", "--data")),
        ((*NEEDED, "--precision", "int4"), ("model.precision", "int4", "bfloat16")),
        ((*NEEDED, "--epochs", "-1"), ("training.epochs is -1.0", "above 0")),
        ((*NEEDED, "--set", "training.warmup"), ("--set", "section.option=value")),
        ((*NEEDED, "--set", "training.warm=1"), ("training.warm", "training.warmup")),
        ((*NEEDED, "--set", "evaluation.measures=[foo@3]"), ("evaluation.measures", "foo@3")),
        ((*NEEDED, "--resume", "--overwrite"), ("--resume", "--overwrite")),
        ((*NEEDED, "--config", "missing.yaml"), ("missing.yaml", "does not exist")),
    ],
)
def test_mistakes(calls: list[Any], arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_refused(run("train", *arguments), *words)
    assert calls == []


def test_an_unknown_key_names_its_line(calls: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("output: o\ntraining:\n  epochs: 1\n  learning_rat: 2\n")
    done = run("train", "--config", path, "--data", "d", "--base", "b")
    assert_refused(done, "r.yaml, line 4", "training.learning_rat", "training.learning_rate?")


def test_a_known_error_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    error = DataNotFoundError("There is no\nfile \x1b[31mx.")
    with_pipeline(monkeypatch, raises=error)
    done = run("train", *NEEDED)
    assert_refused(done, "There is no file")
    assert "\x1b" not in done.err


def test_a_system_error_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pipeline(monkeypatch, raises=PermissionError(13, "Permission denied", "/x"))
    assert_refused(run("train", *NEEDED), "/x: Permission denied")


def test_out_of_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pipeline(monkeypatch, raises=MemoryError())
    assert_refused(run("train", *NEEDED), "out of memory", "--max-length")


def test_a_fault_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pipeline(monkeypatch, raises=KeyError("strange"))
    done = run("train", *NEEDED)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "KeyError" in done.err
    assert "--debug" in done.err
    assert "Traceback" in run("train", *NEEDED, "--debug").err


def test_interrupted_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with_pipeline(monkeypatch, raises=KeyboardInterrupt())
    done = run("train", *NEEDED, "--overwrite")
    assert done.code == 130
    last = done.err.splitlines()[-1]
    assert last.endswith("rankwright train --data pairs.jsonl --base tiny --output out --resume")


def test_colours_only_where_they_are_wanted(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", run("train", *NEEDED).err)
    monkeypatch.setenv("NO_COLOR", "1")
    done = run("train", *NEEDED)
    # bold may stay, colours may not
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", done.out + done.err)
