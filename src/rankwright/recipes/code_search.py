"""Real data that every Python carries: a code-search task from its own standard library.

A query is the first sentence of a function's docstring; its document is the function without the
docstring. Modules, not functions, are divided among train, dev and test, so that no file is on
two sides.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rankwright.data.types import RankingData
from rankwright.errors import DataNotFoundError, EmptyDataError

__all__ = ["CodeSearchOptions", "code_search_data"]

_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
_SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)


@dataclass(frozen=True)
class CodeSearchOptions:
    """How the task is cut.

    Attributes:
        root: Folder of Python sources; None for the standard library of this Python.
        dev_percent: Share of modules for the dev split.
        test_percent: Share of modules for the test split.
        max_test_queries: At most this many test queries.
        max_dev_queries: At most this many dev queries.
        seed: Which modules go where.
    """

    root: Path | None = None
    dev_percent: int = 10
    test_percent: int = 15
    max_test_queries: int = 300
    max_dev_queries: int = 200
    seed: int = 12


def code_search_data(options: CodeSearchOptions | None = None) -> RankingData:
    """Reads the sources into queries, documents and judgements.

    Functions whose source or whose first docstring sentence appeared before are left out, so
    every query has exactly one right document.

    Raises:
        DataNotFoundError: The folder does not exist.
        EmptyDataError: It holds too few documented functions.
    """
    options = options or CodeSearchOptions()
    root = options.root or Path(sysconfig.get_paths()["stdlib"])
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: no such folder of Python sources.")
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    module_of: dict[str, str] = {}
    seen: set[str] = set()
    for module, name, query, code in _functions(root):
        keys = {f"q:{query.casefold()}", f"d:{code}"}
        if keys & seen:
            continue
        seen |= keys
        identity = f"{module}:{name}"
        while identity in corpus:  # two functions of one name in one module
            identity += "'"
        queries[identity], corpus[identity], module_of[identity] = query, code, module
    qrels = _split(module_of, options)
    if min(len(split) for split in qrels.values()) < 20:
        raise EmptyDataError(
            f"only {len(queries)} documented functions were found under {root}; "
            "at least some hundred are needed. Give another folder of Python sources."
        )
    used = {q for split in qrels.values() for q in split}
    return RankingData(
        queries={q: text for q, text in queries.items() if q in used},
        corpus=corpus,
        qrels=qrels,
        source=f"docstrings and functions of {root}",
    )


def _split(
    module_of: dict[str, str], options: CodeSearchOptions
) -> dict[str, dict[str, dict[str, int]]]:
    # In random order, so that a limit takes some queries of every module, not a few modules whole.
    order = sorted(module_of, key=lambda q: _hash(q, options.seed))
    qrels: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    for query in order:
        percent = _hash(module_of[query], options.seed) % 100
        if percent < options.test_percent:
            name, most = "test", options.max_test_queries
        elif percent < options.test_percent + options.dev_percent:
            name, most = "dev", options.max_dev_queries
        else:
            name, most = "train", len(order)
        if len(qrels[name]) < most:
            qrels[name][query] = {query: 1}
    return qrels


def _hash(text: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big")


def _functions(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """Module, qualified name, first docstring sentence and docstring-free source."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if _SKIPPED & set(parts):
            continue
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # templates and deliberately broken files
        module = "/".join(parts)
        lines = source.splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            query = _first_sentence(ast.get_docstring(node) or "")
            if len(query.split()) < 3 or len(node.body) < 2:
                continue
            yield module, node.name, query, _without_docstring(node, lines)


def _first_sentence(docstring: str) -> str:
    paragraph = docstring.strip().split("\n\n")[0]
    text = " ".join(paragraph.split())
    match = _SENTENCE.match(text)
    return (match.group(1) if match else text).strip()


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    documentation = node.body[0]
    end = documentation.end_lineno or documentation.lineno
    kept = lines[node.lineno - 1 : documentation.lineno - 1] + lines[end : node.end_lineno]
    indent = node.col_offset
    return "\n".join(line[indent:] if line[:indent].isspace() else line for line in kept).strip()
