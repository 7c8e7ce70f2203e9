"""Where output goes: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from tqdm import tqdm

__all__ = ["Debug", "Json", "Quiet", "Screen", "open_screen"]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on standard output, and nothing else."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars and no notes.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks of errors.")]

_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@dataclass(frozen=True)
class Screen:
    """What a command prints with. Colours follow the terminal and NO_COLOR.

    Attributes:
        json: Results are printed as JSON.
        quiet: Only results, warnings and errors are printed.
    """

    json: bool
    quiet: bool
    out: Console = field(default_factory=lambda: Console(file=sys.stdout, highlight=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @property
    def progress(self) -> bool:
        """Whether progress bars are wanted."""
        return not self.quiet

    def result(self, values: Mapping[str, Any], *shown: RenderableType) -> None:
        """The result of a command: as JSON, or as tables and sentences for people.

        With JSON, what is for people goes to standard error.
        """
        if self.json:
            self._write(json.dumps(values, ensure_ascii=False, indent=2))
        if not (self.json and self.quiet):
            for part in shown:
                self._print(self.err if self.json else self.out, part)

    def line(self, values: Mapping[str, Any]) -> None:
        """One result of many, as a line of JSON."""
        self._write(json.dumps(values, ensure_ascii=False))

    def _write(self, text: str) -> None:
        print(text, file=self.out.file, flush=True)

    def note(self, text: str) -> None:
        """A hint, such as the next command to try."""
        if not self.quiet:
            self._print(self.err, text)

    def warn(self, text: str) -> None:
        """Something the user should know; shown in any case."""
        self.err.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    @staticmethod
    def _print(console: Console, part: RenderableType) -> None:
        if isinstance(part, str):
            console.print(part, markup=False, soft_wrap=True)
        else:
            console.print(part)


@contextmanager
def open_screen(json_output: bool, quiet: bool, debug: bool) -> Iterator[Screen]:
    """A screen, with this library's log and Python's warnings on standard error meanwhile.

    Whatever else prints in the meantime goes to standard error too, so that standard output holds
    results and nothing else. Only here is logging configured; programs that use the library
    configure their own.
    """
    screen = Screen(json_output, quiet)
    handler = _Handler(screen.err)
    loggers = [logging.getLogger("rankwright"), logging.getLogger("py.warnings")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    logging.captureWarnings(True)
    try:
        # other libraries print what they please; standard output is for results alone
        with redirect_stdout(sys.stderr):
            yield screen
    finally:
        logging.captureWarnings(False)
        for logger, former, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(former)
            logger.propagate = propagate


class _Handler(logging.Handler):
    """Log lines that leave progress bars whole."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        style = _STYLES.get(record.levelname, "dim")
        with tqdm.external_write_mode(file=self.console.file):
            self.console.print(
                f"{prefix}{record.getMessage().rstrip()}",
                style=style,
                markup=False,
                soft_wrap=True,
            )
