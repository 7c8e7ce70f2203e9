"""Rerankers inside other frameworks, one module for each; every module imports its framework.

`langchain`, `llama_index`, `haystack`, `mteb` and `pyterrier`. All take a `CrossEncoder`, a
`Reranker`, or the folder or hub name of one, which is loaded when the first pair is scored.
"""

from __future__ import annotations

__all__: list[str] = []
