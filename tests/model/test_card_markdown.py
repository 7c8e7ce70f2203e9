"""No text in a model card breaks out of its place."""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rankwright.model.card import (
    render_card,
)
from rankwright.model.card.facts import names_of
from rankwright.model.card.markdown import block, code, hub_link, inline, one_line
from tests.model.cards import facts, full, split

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def structure(card: str) -> tuple[list[str], Counter[str]]:
    """Block tokens in order, and how many inline tokens there are of each kind that has effects."""
    _, body = split(card)
    blocks, inlines = [], Counter[str]()
    for token in MARKDOWN.parse(body):
        blocks.append(f"{token.type} {token.tag} {token.info}")
        if token.type == "html_block":
            blocks[-1] += re.sub(r"\(.*\)", "", token.content)
        for child in token.children or []:
            if child.type == "html_inline" and child.content in ("<code>", "</code>"):
                continue
            if child.type not in ("text", "code_inline", "softbreak", "text_special"):
                inlines[child.type] += 1
    return blocks, inlines


HOSTILE = [
    "| a | b |", "`", "```", "~~~", "---", "===", "# heading", "- item", "1. item", "> quote",
    "***", "__bold__", "_", "[link](javascript:alert(1))", "![x](y)", "<script>alert(1)</script>",
    "<!--",
    "-->", "</details>", "<b", "&amp;", "&#124;", "\\", "\\|", "$x$", "{{ 7 * 7 }}", "{% raw %}",
    "\n", "\n\n", "\r\n---\r\n", "\n---\n", "\n```\n", "\n| - |\n", "\u2028", "\u202e", "\x00",
    "\x85", "\ud800", "'", '"', '"""', "'''", "\t", ": ", "%TAG", "!!python/object", "*anchor", "é",
    "中文", "word", "http://x.y", "a@b.c",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=6).map("".join))
def test_no_text_changes_the_structure(text: str) -> None:
    # A data set on the hub or an empty name changes the structure on purpose.
    text = f"x {text} x"
    card = render_card(full(text), facts(text))
    assert structure(card) == structure(render_card(full("x y"), facts("x y")))
    card.encode("utf-8")
    matter, body = split(card)
    shown = one_line(text)
    assert matter["license"] == shown
    assert matter["tags"][-1] == shown
    assert matter["widget"] == [{"text": shown}]
    assert matter["model-index"][0]["name"] == shown
    heading = body.lstrip().splitlines()[0]
    assert html.unescape(heading.removeprefix("# ")) == shown
    for snippet in body.split("```python\n")[1:]:
        names: dict[str, Any] = {}
        lines = snippet.split("\n```")[0].splitlines()
        at = next(i for i, line in enumerate(lines) if "CrossEncoder(" in line)
        exec("def CrossEncoder(name): found.append(name)\nfound = []\n" + lines[at], names)
        assert names["found"] == [text.encode("utf-8", "replace").decode()]


@pytest.mark.parametrize("hostile", ["<b>x</b> y", "x\n\n# y", "x ![y](z)", "x\n- y", "x `y`\n```"])
def test_the_check_of_structure_can_fail(hostile: str) -> None:
    card = render_card(full("x y"), facts("x y"))
    start, _, rest = card.partition("## Limits")
    changed = start + "## Limits" + rest.replace("- x y\n", f"- {hostile}\n", 1)
    assert changed != card
    assert structure(changed) != structure(card)


def test_escaping() -> None:
    assert inline("a | b") == "a &#124; b"
    assert inline("snake_case and ndcg@10") == "snake_case and ndcg@10"
    assert inline("_hidden_") == "&#95;hidden&#95;"
    assert inline("# no heading") == "&#35; no heading"
    assert inline("1. one") == "1&#46; one"
    assert inline("0.123") == "0.123"
    assert inline(-0.5) == "-0.5"
    assert inline("- item") == "&#45; item"
    assert inline("---") == "&#45;--"
    assert inline("a" * 20, limit=5) == "aaaa…"
    assert inline(inline("a|b")) == "a&#124;b"
    assert code("learning_rate") == "`learning_rate`"
    assert code("a`b") == "<code>a&#96;b</code>"
    assert code("") == ""
    assert block("a\n````\nb") == "`````\na\n````\nb\n`````"
    assert hub_link("org/name") == "[org/name](https://huggingface.co/org/name)"
    assert hub_link("a) b](c") == "a) b&#93;(c"
    assert names_of(["a", {"name": "b", "id": "o/b"}, {"id": "o/c"}, {}]) == [
        ("a", None), ("b", "o/b"), ("o/c", "o/c"), ("", None),
    ]  # fmt: skip
