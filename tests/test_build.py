"""The compiled library in the wheel: what is built, and what if there is no compiler."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from rankwright.engine.native import library

ROOT = Path(__file__).resolve().parent.parent
pytest.importorskip("hatchling")

needs_compiler = pytest.mark.skipif(
    "AVX2" in str(library.unavailable()) or not shutil.which("c++"),
    reason="compiling needs an x86 processor with AVX2, and c++",
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a wheel is built from, without a library from an earlier build."""
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(ROOT / name, copy / name)
    for name in ("CXX", "RANKWRIGHT_COMPILE"):
        monkeypatch.delenv(name, raising=False)
    return copy


def build(source: Path) -> tuple[str, set[str]]:
    """The wheel's name and what is in it."""
    from hatchling.builders.wheel import WheelBuilder

    made = next(WheelBuilder(str(source)).build(directory=str(source / "dist")))
    with zipfile.ZipFile(made) as wheel:
        return Path(made).name, set(wheel.namelist())


KERNELS = "rankwright/engine/native/kernels.so"


@needs_compiler
def test_a_wheel_for_this_platform(source: Path) -> None:
    name, files = build(source)
    assert name.endswith("-py3-none-linux_x86_64.whl")
    assert KERNELS in files
    assert "rankwright/engine/native/encoder.cpp" in files
    assert not list((source / "src").rglob(".kernels*"))


def test_a_pure_wheel_without_a_compiler(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(source / "no-compiler"))
    name, files = build(source)
    assert name.endswith("-py3-none-any.whl")
    assert KERNELS not in files


def test_a_compiler_that_fails(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    assert build(source)[0].endswith("-any.whl")
    monkeypatch.setenv("RANKWRIGHT_COMPILE", "1")
    with pytest.raises(SystemExit, match="was not compiled"):
        build(source)


def test_leaving_it_out(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKWRIGHT_COMPILE", "0")
    assert build(source)[0].endswith("-any.whl")
