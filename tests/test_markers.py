"""Measured figures go into a page between two comments, and nowhere else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmarks.markers import given, put_between_markers, with_text

PAGE = "above\n<!-- a:begin -->\nold\n<!-- a:end -->\nbelow <!-- b:begin --><!-- b:end -->\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_the_text_goes_between_the_markers_of_its_name(page: Path) -> None:
    put_between_markers(page, "a", "é\nnew")
    assert page.read_text(encoding="utf-8") == PAGE.replace("old", "é\nnew")
    put_between_markers(page, "a", "é\nnew", check=True)


def test_a_check_writes_nothing_and_names_the_page_that_is_out_of_date(page: Path) -> None:
    with pytest.raises(SystemExit, match=r"page\.md does not say what the results say"):
        put_between_markers(page, "a", "new", check=True)
    assert page.read_text(encoding="utf-8") == PAGE


@pytest.mark.parametrize(
    "text", ["nothing", "<!-- a:begin -->", "<!-- a:end --> before <!-- a:begin -->"]
)
def test_missing_markers_are_named(page: Path, text: str) -> None:
    page.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"page\.md lacks <!-- a:begin --> or, after it, <!-- a:"):
        put_between_markers(page, "a", "new")
    assert page.read_text(encoding="utf-8") == text


def test_a_replaced_text_can_be_replaced_again() -> None:
    assert with_text(with_text(PAGE, "b", "x"), "b", "y") == with_text(PAGE, "b", "y")


def test_the_command_line_names_results_and_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usual := tmp_path / "usual.json").write_text(json.dumps({"rows": 1}))
    (other := tmp_path / "other.json").write_text(json.dumps({"rows": 2}))
    monkeypatch.setattr(sys, "argv", ["table.py"])
    assert vars(given("What.\n\nMore.", usual)) == {"results": {"rows": 1}, "check": False}
    monkeypatch.setattr(sys, "argv", ["table.py", str(other), "--check"])
    assert vars(given(None, usual)) == {"results": {"rows": 2}, "check": True}
