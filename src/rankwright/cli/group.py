"""Commands that are imported when they are named, and failures that become one paragraph."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from rankwright.cli.failures import explain, is_usage_error, report

__all__ = ["COMMANDS", "CommandGroup", "flowed"]

COMMANDS = (
    "train",
    "rank",
    "evaluate",
    "mine",
    "export",
    "verify",
    "bench",
    "serve",
    "init",
    "demo",
)
"""Names of the commands, in the order of the help; each is a module of this package."""


def flowed(text: str) -> str:
    """A docstring whose paragraphs are single lines; indented ones, the examples, stay as is."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


class CommandGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.help = flowed(self.help or "")

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports a command; for a name that is none, all of them, so that one is suggested."""
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                command = get_command(import_module(f"rankwright.cli.{name}").app)
                command.name = name
                command.help = flowed(command.help or "")
                self.commands[name] = command
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; whatever it raises ends in a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Exception) as error:  # nobody at a terminal wants a traceback
            if isinstance(error, (typer.Exit, typer.Abort)) or is_usage_error(error):
                raise
            raise typer.Exit(explain(error, ctx.meta.get("rankwright.arguments", []))) from None

    def main(self, args: Sequence[str] | None = None, **options: Any) -> Any:  # type: ignore[override]
        """As in Typer, but mistakes in the options are reported like all others."""
        given = list(sys.argv[1:] if args is None else args) or ["--help"]
        standalone = options.pop("standalone_mode", True)
        code: Any
        try:
            code = super().main(given, standalone_mode=False, **options)
        except typer.Abort:
            code = report("interrupted.", 130)
        except Exception as error:  # Typer's usage errors differ in base from release to release
            if not is_usage_error(error):
                raise
            code = explain(error, given)
        if not standalone:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, info_name: Any, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Keeps the arguments as they were given, for messages that repeat them."""
        given = list(args)
        context = super().make_context(info_name, args, *rest, **extra)
        context.meta["rankwright.arguments"] = given
        return context
