"""The README says the same in three languages: same code, same figures, same links, same parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
OTHERS = {"zh": "[一-鿿]", "vi": "[ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]"}
"""Language -> letters that English does not have."""


def code(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, re.M | re.S)


def headings(text: str) -> list[str]:
    return re.findall(r"^(#+) ", "".join(re.split(r"^```.*?^```$", text, flags=re.M | re.S)), re.M)


def links(text: str) -> list[str]:
    inside = re.findall(r"\]\(([^)]+)\)", text)
    return sorted(target for target in inside if not target.startswith("README"))


def tables(text: str) -> list[list[int]]:
    """Cells per row of every table."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    return [[row.count("|") for row in table.splitlines()] for table in found]


def spans(text: str) -> list[str]:
    """What is set in code, outside of blocks: names that must not be translated."""
    outside = "".join(re.split(r"^```.*?^```$", text, flags=re.M | re.S))
    return sorted(re.findall(r"`([^`]+)`", outside))


def bullets(text: str) -> int:
    return len(re.findall(r"^- ", text, re.M))


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("part", [code, headings, links, tables, spans, bullets])
def test_the_translations_follow_the_english_one(language: str, part: object) -> None:
    other = (ROOT / f"README.{language}.md").read_text(encoding="utf-8")
    assert part(other) == part(ENGLISH)  # type: ignore[operator]
    assert part(ENGLISH)  # type: ignore[operator]


@pytest.mark.parametrize("language", OTHERS)
def test_the_figures_are_the_same(language: str) -> None:
    other = (ROOT / f"README.{language}.md").read_text(encoding="utf-8")
    begin, end = "<!-- demo-table:begin -->", "<!-- demo-table:end -->"
    assert (
        other.partition(begin)[2].partition(end)[0] == ENGLISH.partition(begin)[2].partition(end)[0]
    )


@pytest.mark.parametrize("language", OTHERS)
def test_it_is_translated(language: str) -> None:
    other = (ROOT / f"README.{language}.md").read_text(encoding="utf-8")
    outside = "".join(re.split(r"^```.*?^```$", other, flags=re.M | re.S))
    lines = [line for line in outside.splitlines() if len(line) > 30 and not line.startswith("|")]
    prose = [line for line in lines if not line.startswith(("Gain in", "Means over", "<!--"))]
    assert len(prose) >= 18
    for line in prose:
        assert re.search(OTHERS[language], line), line


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "README.vi.md"])
def test_each_leads_to_the_others(name: str) -> None:
    top = (ROOT / name).read_text(encoding="utf-8")[:200]
    for other in {"README.md", "README.zh.md", "README.vi.md"} - {name}:
        assert f"]({other})" in top
