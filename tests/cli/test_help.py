from __future__ import annotations

import subprocess
import sys

import pytest

import rankwright
from rankwright.cli.group import COMMANDS, flowed
from tests.cli.worlds import assert_refused, run

HEAVY = "{'torch', 'transformers', 'datasets', 'bm25s', 'sklearn', 'scipy'}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches_with_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert done.err == ""
    examples = done.out.split("Examples:")[1].split("─ ")[0]
    assert 2 <= examples.count(f"rankwright {command}") <= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_fit_a_narrow_terminal(command: str) -> None:
    from importlib import import_module

    docstring = getattr(import_module(f"rankwright.cli.{command}"), command).__doc__
    for line in docstring.splitlines():
        if line.startswith("      "):
            assert len(line) - len("    ") <= 78, line


def test_the_group_lists_its_commands_and_exit_codes() -> None:
    done = run("--help")
    for command in COMMANDS:
        assert command in done.out
    assert "3 trained but not better" in " ".join(done.out.split())
    assert run().out == done.out


def test_version() -> None:
    assert run("--version").out == f"rankwright {rankwright.__version__}\n"


def test_unknown_command_is_suggested() -> None:
    assert_refused(run("trian"), "No such command 'trian'", "'train'")


def test_unknown_option() -> None:
    assert_refused(run("train", "--epoch", "3"), "--epoch", "rankwright train --help")


def test_missing_option() -> None:
    assert_refused(run("rank", "--query", "a"), "--model")


def test_an_option_of_the_wrong_type() -> None:
    assert_refused(run("train", "--epochs", "many"), "--epochs", "number")


@pytest.mark.parametrize(
    "code",
    [
        "import rankwright",
        "from typer.testing import CliRunner; from rankwright.cli.main import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from typer.testing import CliRunner; from rankwright.cli.main import app; "
        "assert CliRunner().invoke(app, ['train', '--help']).exit_code == 0",
    ],
    ids=["import", "help", "train help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    check = f"import sys; found = {HEAVY} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True)


def test_flowed_joins_prose_and_keeps_examples() -> None:
    assert flowed("One\ntwo.\n\n  a \\\n    b\n\nThree\nfour.") == (
        "One two.\n\n  a \\\n    b\n\nThree four."
    )
