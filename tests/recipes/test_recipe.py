from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwright.errors import ConfigError, DataNotFoundError, InputError
from rankwright.recipes.options import Limit, Section, default_of, docs_of, types_of
from rankwright.recipes.recipe import (
    DataRecipe,
    EvaluationRecipe,
    FirstStageRecipe,
    MiningRecipe,
    ModelRecipe,
    Recipe,
    TrainingRecipe,
)
from rankwright.recipes.yaml_io import (
    commented_template,
    dump_recipe,
    load_recipe,
    parse_setting,
    write_template,
)

SECTIONS = (
    DataRecipe,
    ModelRecipe,
    FirstStageRecipe,
    MiningRecipe,
    TrainingRecipe,
    EvaluationRecipe,
)
NEEDED: dict[str, Any] = {"data.source": "d.csv", "model.base": "b", "output": "o"}


def recipe(**overrides: Any) -> Recipe:
    return load_recipe(None, {**NEEDED, **overrides})


def least() -> Recipe:
    return Recipe(data=DataRecipe("d.csv"), model=ModelRecipe("b"), output="o")


def test_the_least_recipe_has_all_defaults() -> None:
    assert recipe() == least()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_is_documented(section: type[Section]) -> None:
    assert set(docs_of(section)) >= set(types_of(section))
    assert section.__doc__
    for text in docs_of(section).values():
        assert text.endswith(".")


@pytest.mark.parametrize("section", SECTIONS)
def test_limits_belong_to_options(section: type[Section]) -> None:
    assert set(section.LIMITS) <= set(types_of(section))


def test_the_template_holds_every_option_with_its_comment_and_default() -> None:
    text = commented_template()
    loaded = Recipe.from_dict(yaml.safe_load(text))
    placeholders = (loaded.data.source, loaded.model.base, loaded.output)
    assert loaded == Recipe(
        data=DataRecipe(placeholders[0]), model=ModelRecipe(placeholders[1]), output=placeholders[2]
    )
    flat = " ".join(text.replace("#", " ").split())
    for section in SECTIONS:
        for name, doc in docs_of(section).items():
            assert f"{name}:" in text
            assert doc in flat
            default = default_of(section, name)
            if default is not MISSING and isinstance(default, (int, float, str)):
                shown = str(default).lower() if isinstance(default, bool) else str(default)
                assert f"Default: {shown}." in flat
    assert max(map(len, text.splitlines())) <= 100


def test_write_template(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    write_template(path)
    assert load_recipe(path).seed == 12
    with pytest.raises(InputError, match="--force"):
        write_template(path)


plain_texts = st.text(min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=30)
@given(
    source=plain_texts,
    sql=st.none() | plain_texts,
    prompt=st.none() | plain_texts,
    negatives=st.lists(plain_texts, max_size=3),
    rate=st.floats(min_value=1e-9, max_value=0.5),
    steps=st.none() | st.integers(1, 10**9),
)
def test_dump_and_load_are_inverse(
    source: str,
    sql: str | None,
    prompt: str | None,
    negatives: list[str],
    rate: float,
    steps: int | None,
) -> None:
    made = Recipe(
        data=DataRecipe(source, sql=sql, negative_columns=tuple(negatives)),
        model=ModelRecipe("b", prompt=prompt),
        output="o",
        training=TrainingRecipe(learning_rate=rate, max_steps=steps),
    )
    assert Recipe.from_dict(yaml.safe_load(dump_recipe(made))) == made
    assert Recipe.from_dict(json.loads(json.dumps(made.resolved()))) == made


def test_yaml_reads_exponents_as_texts_and_floats_take_them(tmp_path: Path) -> None:
    assert yaml.safe_load("2e-4") == "2e-4"
    path = tmp_path / "r.yaml"
    path.write_text("training: {learning_rate: 2e-4, epochs: 1E+1}\nfirst_stage:\n")
    found = load_recipe(path, NEEDED).training
    assert (found.learning_rate, found.epochs) == (2e-4, 10.0)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("training.epochs", "3", ("the text '3'", "a finite number", "without quotes")),
        ("training.epochs", True, ("true", "a finite number")),
        ("training.epochs", None, ("null", "a finite number")),
        ("training.epochs", float("nan"), ("nan", "finite")),
        ("training.epochs", "inf", ("inf", "finite")),
        ("training.epochs", 0, ("0.0", "above 0")),
        ("training.max_steps", 2.0, ("2.0", "a whole number, or null")),
        ("training.max_steps", "2e1", ("2e1", "a whole number")),
        ("training.learning_rate", 2, ("2.0", "below 1")),
        ("training.loss", "softmax", ("softmax", "group-softmax, listnet, lambda, bce")),
        ("data.drop_empty", "true", ("the text 'true'", "true or false", "without quotes")),
        ("data.drop_empty", 1, ("1", "true or false")),
        ("data.split", False, ("false", "a text, or null", "quotes")),
        ("data.source", 2024, ("2024", "a text", "quotes")),
        ("data.source", "  ", ("empty text",)),
        ("data.negative_columns", "neg", ("the text 'neg'", "a list of texts")),
        ("data.negative_columns", [1], ("[1]", "a list of texts")),
        ("data.dev_fraction", 1, ("1.0", "below 1")),
        ("data.dev_fraction", 0.95, ("data.test_fraction", "below 1")),
        ("mining.stages", "bm52", ("bm52", "bm25, dense, both, best")),
        ("mining.range_max", 2, ("mining.num_negatives", "range_max=2")),
        ("mining.stages", "dense", ("first_stage.embedder", "--embedder")),
        ("evaluation.measures", [], ("evaluation.measures", "empty list")),
        ("evaluation.measures", ["nDCG@10", "foo"], ("evaluation.measures", "foo", "nDCG@k")),
        ("evaluation.select_by", "foo", ("evaluation.select_by", "foo")),
        ("seed", -1, ("seed is -1", "at least 0")),
        ("training", 3, ("training is 3", "section", "epochs")),
        ("training.learning_rat", 1, ("no option", "training.learning_rate?")),
        ("trainings.epochs", 1, ("trainings", "training?")),
        ("data.sauce", 1, ("no option", "query_column")),
    ],
)
def test_what_does_not_hold_is_refused(option: str, value: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**{option: value})
    for word in (option.partition(".")[0], *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("option", sorted(NEEDED))
def test_what_has_no_default_must_be_given(option: str) -> None:
    given = {name: value for name, value in NEEDED.items() if name != option}
    with pytest.raises(ConfigError, match=f"^{option} is missing"):
        load_recipe(None, given)


def test_construction_checks_too() -> None:
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        TrainingRecipe(epochs="3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="data is"):
        Recipe(data={"source": "x"}, model=ModelRecipe("b"), output="o")  # type: ignore[arg-type]
    assert TrainingRecipe(epochs=3).epochs == 3.0
    assert DataRecipe("x", negative_columns=["a"]).negative_columns == ("a",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [a\noutput: o\n", ("line 2", "column", "not valid YAML")),
        ("data:\n\tsource: x\n", ("line 2, column 1", "spaces, never with tabs")),
        ("- a\n", ("holds list", "rankwright init")),
        ("training:\n  epochs: 1\n  epochs: 2\n", ("line 3", "training.epochs", "line 2")),
        ("training:\n  epochs: 1\nseed: x\n", ("line 3", "seed is the text 'x'")),
        ("training:\n  epochs: 1\n  foo: 2\n", ("line 3", "training.foo")),
        ("mining:\n  range_max: 2\n  num_negatives: 4\n", ("line 3", "range_max=2")),
        ("!!python/object:os.system {}\n", ("line 1", "not valid YAML")),
    ],
)
def test_mistakes_in_a_file_name_the_line(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, NEEDED)
    for word in ("r.yaml", *words):
        assert word in str(caught.value)


def test_a_wrong_override_does_not_blame_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("training: {epochs: 1}\n")
    with pytest.raises(ConfigError, match=r"^training\.epochs is 0"):
        load_recipe(path, {**NEEDED, "training.epochs": 0})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml", NEEDED)
    with pytest.raises(ConfigError, match="is a folder"):
        load_recipe(tmp_path, NEEDED)
    (tmp_path / "latin.yaml").write_bytes(b"output: caf\xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_recipe(tmp_path / "latin.yaml", NEEDED)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_recipe(tmp_path / "empty.yaml", NEEDED) == least()


def test_settings() -> None:
    assert parse_setting("training.epochs=2") == ("training.epochs", 2)
    assert parse_setting("data.sql=SELECT a=1") == ("data.sql", "SELECT a=1")
    assert parse_setting("evaluation.measures=[AP, R@5]")[1] == ["AP", "R@5"]
    for text in ("training.epochs", "=3", "a.b=[1"):
        with pytest.raises(ConfigError, match="--set"):
            parse_setting(text)


def test_what_other_rooms_get() -> None:
    made = recipe(**{"data.negative_columns": ["n"], "data.max_queries": 7, "mining.range_min": 2})
    options = made.data.load_options(seed=3)
    assert (options.negative_columns, options.max_queries, options.seed) == (("n",), 7, 3)
    assert {f.name for f in fields(options)} - {f.name for f in fields(made.data)} == {
        "seed",
        "token",
    }
    mining = made.mining.mining_options(seed=4)
    assert (mining.num_negatives, mining.range_min, mining.seed) == (3, 2, 4)
    assert mining.range_max == 32, "random sampling draws from ten times as many"
    assert made.mining.window >= 6


def test_limits_say_what_they_allow() -> None:
    limit = Limit(at_least=0, below=1)
    assert str(limit) == "at least 0 and below 1"
    assert [limit.allows(x) for x in (-0.1, 0, 0.9, 1)] == [False, True, True, False]
