"""Frameworks that tests skip when they are missing are part of the development install."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXTRAS = {
    "langchain": "langchain-core",
    "llama-index": "llama-index-core",
    "haystack": "haystack-ai",
    "mteb": "mteb",
    "pyterrier": "pyterrier",
}
PROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", EXTRAS)
def test_development_brings_every_framework(extra: str) -> None:
    declared = re.search(rf'^{extra} = \["([\w-]+)>=', PROJECT, re.MULTILINE)
    assert declared is not None
    assert declared[1] == EXTRAS[extra]
    development = PROJECT.partition("\ndev = [")[2].partition("\n]")[0]
    brought = re.findall(r"rankwright\[([^\]]+)\]", development)
    assert extra in ",".join(brought).split(",")
