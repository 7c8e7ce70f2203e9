"""Foreign text in Markdown: nothing that a user, a data set or a model says can become markup.

CommonMark never reads a character reference such as ``&#124;`` as structure, so what could be
structure is written as one. The templates escape whatever is not `Markdown`, so forgetting a
filter gives ugly text, not an open door.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "Markdown",
    "block",
    "code",
    "finalize",
    "hub_link",
    "inline",
    "json_block",
    "number",
    "one_line",
    "plain",
    "python",
    "table",
]

_ANYWHERE = re.compile(r"[&<>|`*\[\]\\~$^]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_AT_START = re.compile(r"^(?:[#=]|[+-](?=\s|$|-)|(\d+)([.)])(?=\s|$))")
# Control characters, and marks that turn the direction of what follows.
_NO_TEXT = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_PLAIN_CODE = re.compile(r"[^`|\n<>&]+")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def one_line(value: Any) -> str:
    """Without line breaks, control characters, marks that reverse text, and broken Unicode."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return " ".join(_NO_TEXT.sub(" ", text).split())


def number(value: Any) -> Any:
    """A float with four significant digits, anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return value


def inline(value: Any, limit: int | None = None) -> Markdown:
    """Text in a sentence, a heading or a table's cell, cut to ``limit`` characters."""
    if isinstance(value, Markdown):
        return value
    text = one_line(number(value))
    if limit is not None and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    text = _ANYWHERE.sub(lambda match: f"&#{ord(match[0])};", text)
    return Markdown(_AT_START.sub(_escaped_start, text))


def _escaped_start(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f"{match[1]}&#{ord(match[2])};"
    return f"&#{ord(match[0])};"


def code(value: Any, limit: int | None = None) -> Markdown:
    """The same in a fixed-width font."""
    text = one_line(value)
    if _PLAIN_CODE.fullmatch(text) and (limit is None or len(text) <= limit):
        return Markdown(f"`{text}`")
    return Markdown(f"<code>{inline(text, limit)}</code>") if text else Markdown("")


def block(text: Any, language: str = "") -> Markdown:
    """Lines of code, fenced by more backticks than any run of them inside."""
    content = str(text).encode("utf-8", "replace").decode("utf-8").strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{content}\n{fence}")


def json_block(value: Any) -> Markdown:
    """Settings as JSON; what JSON cannot hold is written as its Python name."""
    return block(json.dumps(value, indent=4, ensure_ascii=False, default=str), "json")


def python(value: Any) -> Markdown:
    """A Python string literal in ASCII escapes where needed, so that no name leaves a snippet."""
    return Markdown(repr(str(value).encode("utf-8", "replace").decode("utf-8")))


def hub_link(name: str, kind: str = "", shown: str = "") -> Markdown:
    """A link to the hub if ``name`` can be a name there, else the name alone.

    Args:
        name: Such as ``org/model``.
        kind: ``""`` for models, ``"datasets"`` for data sets.
        shown: What to call it; the name itself if empty.
    """
    if not _HUB_NAME.fullmatch(name):
        return inline(shown or name)
    path = f"{kind}/{name}" if kind else name
    return Markdown(f"[{inline(shown or name)}](https://huggingface.co/{path})")


def table(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()
) -> Markdown:
    """A table; cells that are not Markdown are escaped.

    Args:
        header: One title per column.
        rows: One value per column.
        right: Columns that are aligned to the right.
    """
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    lines: list[list[str]] = [[*map(inline, header)], rule]
    lines += [[*map(inline, row)] for row in rows]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def finalize(value: Any) -> str:
    """What the template engine does to every value it prints."""
    return inline(value)


def plain(value: Any) -> Any:
    """For YAML: every text on one line and sound, containers alike."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, Mapping):
        return {one_line(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
