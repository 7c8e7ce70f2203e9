"""What the package promises as a whole: its names, its rooms, and what it never does."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import rankwright
from rankwright import errors

SOURCE = Path(rankwright.__file__).parent
PROJECT = SOURCE.parent.parent
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]

# A room may import from the rooms after it, never from those before it. Rooms in one row are
# siblings: they may use each other's public package, not its insides.
ROWS = (
    ("cli",),
    ("recipes", "serving", "integrations", "export"),
    ("training", "mining", "evaluation"),
    ("losses",),
    ("model",),
    ("engine",),
    ("data",),
    ("errors", "lazy"),
)
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}
# The package's face: names and paths for users, which no room may import. The version is a plain
# text in it that the command line shows.
FACE = (
    "__init__",
    "__main__",
    "base",
    "cross_encoder",
    "readers",
    "sentence_transformer",
    "training_args",
    "util",
)
ALLOWED_FROM_FACE = {
    ("cli", "rankwright.__version__"),
    ("serving", "rankwright.__version__"),
}
# The one place where a room reaches up, when called: `CrossEncoder.fit` is a method of the model
# and the business of training. docs/architecture.md names it.
REACHES_UP = {("model/legacy.py", "rankwright.training")}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(module: ast.AST) -> Iterator[str]:
    """Every module or name that is imported anywhere in a file, with its full path."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_by_name(module: ast.AST) -> Iterator[str]:
    """Every module that `importlib.import_module` is given as a plain text."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def wrong_import(room: str, name: str) -> str | None:
    """Why code in a room may not import a name of this package, or None if it may."""
    parts = name.split(".")
    if parts[0] != "rankwright" or room in FACE or (room, name) in ALLOWED_FROM_FACE:
        return None
    target = parts[1] if len(parts) > 1 else "__init__"
    if target == room:
        return None
    if target not in LEVEL:
        return f"{name} is not in a room"
    if LEVEL[target] < LEVEL[room]:
        return f"{room} is below {target}"
    inside = len(parts) > 3 or (len(parts) == 3 and is_module(name))
    if LEVEL[target] == LEVEL[room] and inside:
        return f"{name} is an inside of {target}, which stands beside {room}"
    return None


# --- names ------------------------------------------------------------------------------------


def test_all_is_sorted_and_complete() -> None:
    assert rankwright.__all__ == sorted(rankwright.__all__)
    assert set(rankwright.__all__) == {*rankwright._HOMES, "__version__"}
    assert dir(rankwright) == rankwright.__all__


@pytest.mark.parametrize("name", [n for n in rankwright.__all__ if n != "__version__"])
def test_every_name_loads_from_its_room(name: str) -> None:
    value = getattr(rankwright, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)
    room = importlib.import_module(f"rankwright.{rankwright._HOMES[name]}")
    assert getattr(room, name) is value
    assert name in room.__all__


def test_type_checkers_see_the_same_names() -> None:
    blocks = [node for node in tree(SOURCE / "__init__.py").body if isinstance(node, ast.If)]
    assert len(blocks) == 1
    found = {name.rpartition(".")[2]: name.rpartition(".")[0] for name in imported(blocks[0])}
    assert found == {name: f"rankwright.{home}" for name, home in rankwright._HOMES.items()}


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'rankwright' has no attribute 'Nothing'"):
        _ = rankwright.Nothing
    assert not hasattr(importlib.import_module("rankwright.cross_encoder"), "Nothing")


def test_one_version() -> None:
    assert version("rankwright") == rankwright.__version__
    changes = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{rankwright.__version__}]" in changes


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cross_encoder", "CrossEncoder"),
        ("cross_encoder", "CrossEncoderModelCardData"),
        ("cross_encoder", "CrossEncoderTrainer"),
        ("cross_encoder", "CrossEncoderTrainingArguments"),
        ("cross_encoder.evaluation", "CrossEncoderRerankingEvaluator"),
        ("cross_encoder.losses", "BinaryCrossEntropyLoss"),
        ("cross_encoder.model_card", "CrossEncoderModelCardData"),
        ("cross_encoder.modules", "LogitScore"),
        ("cross_encoder.trainer", "CrossEncoderTrainer"),
        ("base.evaluation", "SequentialEvaluator"),
        ("base.sampler", "DefaultBatchSampler"),
        ("cross_encoder.training_args", "CrossEncoderTrainingArguments"),
        ("evaluation", "SequentialEvaluator"),
        ("losses", "LambdaLoss"),
        ("mining", "BM25"),
        ("training", "CrossEncoderTrainer"),
        ("readers", "InputExample"),
        ("sentence_transformer.readers", "InputExample"),
        ("training_args", "BatchSamplers"),
        ("util", "mine_hard_negatives"),
    ],
)
def test_paths_of_sentence_transformers(path: str, name: str) -> None:
    module = importlib.import_module(f"rankwright.{path}")
    assert name in module.__all__
    assert getattr(module, name) is getattr(rankwright, name)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Importing from:DeprecationWarning")
@pytest.mark.parametrize(
    "path",
    [
        "base.evaluation",
        "base.sampler",
        "cross_encoder",
        "cross_encoder.data_collator",
        "cross_encoder.model_card",
        "cross_encoder.modules",
        "cross_encoder.trainer",
        "cross_encoder.training_args",
        "readers",
        "sentence_transformer.readers",
        "training_args",
        "util",
    ],
)
def test_those_paths_exist_there(path: str) -> None:
    pytest.importorskip("sentence_transformers")
    ours = importlib.import_module(f"rankwright.{path}")
    theirs = importlib.import_module(f"sentence_transformers.{path}")
    assert set(ours.__all__) <= set(dir(theirs))


# --- exceptions -------------------------------------------------------------------------------


def exceptions() -> dict[str, type[BaseException]]:
    found = vars(errors).items()
    return {n: v for n, v in found if isinstance(v, type) and issubclass(v, BaseException)}


def test_every_exception_is_exported() -> None:
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == set(exceptions())


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "RankwrightError"])
def test_every_exception_is_ours_and_a_standard_one(name: str) -> None:
    kind = exceptions()[name]
    assert issubclass(kind, errors.RankwrightError)
    standard = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    assert set(standard) - {Exception, BaseException, object}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, tuple[str, set[str]]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)(?: \((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            del above[depth:]
            drawn[match[2]] = (above[-1] if above else "Exception", {match[3]} - {None})
            above.append(match[2])
    assert set(drawn) == set(errors.__all__)
    for name, (parent, standard) in drawn.items():
        bases = {base.__name__ for base in exceptions()[name].__bases__}
        assert bases == {parent, *standard}, name


# --- imports ----------------------------------------------------------------------------------


def test_importing_is_light() -> None:
    program = (
        "import sys, rankwright, rankwright.cross_encoder, rankwright.data, rankwright.evaluation, "
        "rankwright.losses, rankwright.mining, rankwright.model, rankwright.training\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)\n"
        "print('loaded:', *sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["loaded:"]


def test_arrows_point_down() -> None:
    wrong: list[str] = []
    for name in NAMES:
        room = name.removesuffix(".py").split("/")[0]
        assert room in LEVEL or room in FACE, f"{name} is outside the rooms"
        reasons = (wrong_import(room, target) for target in imported(tree(SOURCE / name)))
        wrong += [f"{name}: {reason}" for reason in reasons if reason]
        for target in imported_by_name(tree(SOURCE / name)):
            if (name, target) not in REACHES_UP and (reason := wrong_import(room, target)):
                wrong.append(f"{name}: {reason}")
    assert wrong == []


def test_the_exceptions_to_it_are_needed() -> None:
    for name, target in REACHES_UP:
        assert target in imported_by_name(tree(SOURCE / name))
        assert f"`{name}`" in (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("room", "name", "allowed"),
    [
        ("data", "rankwright.errors.DataError", True),
        ("data", "rankwright.model.CrossEncoder", False),
        ("losses", "rankwright.training.CrossEncoderTrainer", False),
        ("mining", "rankwright.evaluation.evaluate_run", True),
        ("mining", "rankwright.evaluation.measures.evaluate_run", False),
        ("mining", "rankwright.evaluation.measures", False),
        ("recipes", "rankwright.evaluation.measures.evaluate_run", True),
        ("engine", "rankwright.CrossEncoder", False),
        ("engine", "rankwright.util.mine_hard_negatives", False),
        ("cli", "rankwright.__version__", True),
        ("cli", "rankwright.CrossEncoder", False),
        ("engine", "torch.nn", True),
    ],
)
def test_the_rule_of_the_rooms(room: str, name: str, allowed: bool) -> None:
    assert (wrong_import(room, name) is None) == allowed


def test_data_needs_neither_torch_nor_transformers() -> None:
    names = [name for name in NAMES if name.startswith("data/")]
    assert len(names) > 10
    for name in names:
        roots = {target.partition(".")[0] for target in imported(tree(SOURCE / name))}
        assert not roots & {"torch", "transformers"}, name


# --- what the source never does ---------------------------------------------------------------


UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {"eval", "exec", "compile", "__import__", "os.system", "torch.load"}
UNSAFE |= {"yaml.load", "yaml.full_load", "yaml.unsafe_load"}
LOUD = {"print", "rich.print", "logging.basicConfig"}


def forbidden(module: ast.Module, in_cli: bool) -> set[str]:
    """What a file imports or calls and should not."""
    targets = set(imported(module))
    roots = {target.partition(".")[0] for target in targets}
    called = {ast.unparse(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}
    # Sentence Transformers is for tests only.
    return (roots & (UNSAFE_MODULES | {"sentence_transformers"})) | (
        (called | targets) & (UNSAFE if in_cli else UNSAFE | LOUD)
    )


def test_nothing_unsafe_and_no_prints() -> None:
    found = {name: forbidden(tree(SOURCE / name), name.startswith("cli/")) for name in NAMES}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from torch import load", {"torch.load"}),
        ("def f(x):\n    return torch.load(x)", {"torch.load"}),
        ("eval('1')", {"eval"}),
        ("model.eval()", set()),
        ("print(1)", {"print"}),
    ],
)
def test_that_search_would_find_it(code: str, found: set[str]) -> None:
    assert forbidden(ast.parse(code), in_cli=False) == found


TEXTS = [
    path
    for folder in ("src", "tests", "docs", "benchmarks", "examples", ".ci")
    for path in sorted((PROJECT / folder).rglob("*"))
    if path.is_file() and path.suffix in ("", ".py", ".md", ".yaml", ".toml", ".json")
] + [PROJECT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")]
# Home folders and this project's own folder on whatever machine the tests run.
LOCAL = re.compile(
    r"(?<![\w.])/(?:home|root|Users|workspace|work|mnt|data)/[\w.-]+|" + re.escape(str(PROJECT))
)


def test_no_path_of_anybodys_machine() -> None:
    assert len(TEXTS) > 100
    found = {path: LOCAL.findall(path.read_text(encoding="utf-8")) for path in TEXTS}
    assert {path: places for path, places in found.items() if places} == {}
    assert LOCAL.findall("see /home/" + "someone/x and ~/y, docs/work/z")
