"""Packages load their names on first use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankwright.lazy import lazy_names


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with one module in a package of its own, neither of which is loaded."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").touch()
    (tmp_path / "outer" / "inner" / "__init__.py").touch()
    (tmp_path / "outer" / "inner" / "module.py").write_text("value = [1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "outer"
    for name in [name for name in sys.modules if name.partition(".")[0] == "outer"]:
        del sys.modules[name]


def test_a_name_loads_its_module_when_it_is_asked_for(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, shown = lazy_names(package, {"value": "inner.module"}, ["value", "__version__"])
    assert shown() == ["__version__", "value"]
    assert "outer.inner.module" not in sys.modules
    assert load("value") == [1]
    assert load("value") is sys.modules["outer.inner.module"].value
    monkeypatch.setattr("outer.inner.module.value", [2])
    assert load("value") == [2]


def test_other_names_are_no_attributes(package: str) -> None:
    load, _ = lazy_names(package, {"value": "inner.module"}, ["value", "__version__"])
    with pytest.raises(AttributeError, match="module 'outer' has no attribute '__version__'"):
        load("__version__")


def test_what_dir_gives_may_be_changed(package: str) -> None:
    _, shown = lazy_names(package, {}, ["b", "a"])
    shown().append("c")
    assert shown() == ["a", "b"]
