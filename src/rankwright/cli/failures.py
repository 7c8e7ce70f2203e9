"""What went wrong, in one paragraph on standard error, and the exit code for it."""

from __future__ import annotations

import errno
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from rankwright.errors import RankwrightError

__all__ = [
    "DISAGREE",
    "INTERRUPTED",
    "MISTAKE",
    "NOT_BETTER",
    "explain",
    "is_usage_error",
    "report",
]

FAULT, MISTAKE, NOT_BETTER, DISAGREE, INTERRUPTED = 1, 2, 3, 4, 130

# Typer carries its own copy of Click in newer releases, so the base is found by inheritance.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

RESUMABLE = ("train", "demo")


def is_usage_error(error: BaseException) -> bool:
    """Whether the options themselves were wrong."""
    return isinstance(error, _USAGE_ERROR)


def report(message: str, code: int) -> int:
    """Prints one paragraph on standard error and returns the exit code."""
    # messages may repeat what stands in data: no line breaks, no control characters
    text = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    print(text, file=sys.stderr, flush=True)
    return code


def explain(error: BaseException, arguments: Sequence[str]) -> int:
    """Reports an error and returns the exit code.

    Args:
        error: What was raised.
        arguments: The command line, without the program's name.
    """
    if isinstance(error, KeyboardInterrupt):
        return report(_interrupted(arguments), INTERRUPTED)
    if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.EPIPE:
        return _closed_pipe()
    if "--debug" in arguments:
        traceback.print_exception(error, file=sys.stderr)
    if is_usage_error(error):
        return report(f"error: {_usage(error)}", MISTAKE)
    if isinstance(error, RankwrightError):
        return report(f"error: {error}", MISTAKE)
    if isinstance(error, OSError):
        return report(f"error: {_system(error)}", MISTAKE)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return report(
            "error: out of memory. Lower --max-length, --depth or the number of queries per step, "
            "or use a machine with more memory.",
            MISTAKE,
        )
    return report(
        f"error: Rankwright failed in a way it should not: {type(error).__name__}: {error}. Please "
        "report this with the command you ran and the traceback that --debug shows.",
        FAULT,
    )


def _usage(error: Any) -> str:
    message = str(error.format_message()).rstrip()
    message += "" if message.endswith((".", "?", "!")) else "."
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rankwright"
    return f"{message} See: {command} --help"


def _system(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{what}."


def _interrupted(arguments: Sequence[str]) -> str:
    if not arguments or arguments[0] not in RESUMABLE:
        return "interrupted: no unfinished file was left behind."
    kept = [part for part in arguments if part not in ("--resume", "--overwrite")]
    return (
        f"interrupted. Go on from the last checkpoint with: rankwright {shlex.join(kept)} --resume"
    )


def _closed_pipe() -> int:
    """The reader, such as ``head``, has seen enough: nothing to say, and nothing to flush."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return FAULT
