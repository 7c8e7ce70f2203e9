from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rankwright.recipes.recipe import Recipe
from rankwright.recipes.yaml_io import load_recipe
from tests.cli.worlds import ROWS, FakeResult, assert_refused, fake_pipeline, run


def test_init_writes_a_recipe_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "recipe.yaml"
    done = run("init", path)
    assert done.code == 0
    assert f"rankwright train --config {path}" in done.err
    assert isinstance(load_recipe(path), Recipe)


def test_init_replaces_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    assert_refused(run("init", path), "exists already", "--force")
    assert path.read_text() == "mine"
    assert run("init", path, "--force", "--json").json == {"recipe": str(path)}
    assert path.read_text() != "mine"


def test_init_refuses_a_folder(tmp_path: Path) -> None:
    assert_refused(run("init", tmp_path), "is a folder")


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    module: Any = types.ModuleType("rankwright.recipes.demo")

    def run_demo(options: Any, run: Any) -> Any:
        calls.append((options, run))
        ranking = [{"rank": 1, "id": "os:path", "score": 0.5, "text": "def\n  path"}]
        example = {"query": "a path", "ranking": ranking}
        return types.SimpleNamespace(pipeline=FakeResult(ROWS, better=True), example=example)

    module.DemoOptions, module.run_demo = types.SimpleNamespace, run_demo
    monkeypatch.setitem(sys.modules, "rankwright.recipes.demo", module)
    monkeypatch.setitem(sys.modules, "rankwright.recipes.pipeline", fake_pipeline([]))
    return calls


def test_demo_shows_table_and_example(demo: list[Any]) -> None:
    done = run("demo", "--quick", "--output", "x", "--seed", 3, "--overwrite")
    assert done.code == 0
    [(options, pipeline)] = demo
    assert (options.output, options.seed, options.quick) == ("x", 3, True)
    assert (pipeline.resume, pipeline.overwrite) == (False, True)
    for shown in ("0.9000", "a path", "os:path", "def path"):
        assert shown in done.out


def test_demo_as_json(demo: list[Any]) -> None:
    found = run("demo", "--json").json
    assert found["rows"] == ROWS
    assert found["example"]["ranking"][0]["id"] == "os:path"
    assert demo[0][0].output == "rankwright-demo"
