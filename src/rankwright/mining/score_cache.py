"""Scores of pairs kept on disk, so that a long scoring can be stopped and taken up again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from rankwright.data.hashing import content_hash
from rankwright.errors import SaveError

__all__ = ["ScoreCache"]

Pair = tuple[str, str]

_SELECT = 500
"""Keys per query: SQLite allows some hundred parameters at least."""


class ScoreCache:
    """Scores by teacher and pair in one SQLite file, complete after every `put`.

    A pair is known by a hash of its two texts together with ``identity``, so scores of several
    teachers can share a file. Texts are not kept.

    Args:
        path: The file; it and its folder are made when missing.
        identity: Everything else that a score depends on.

    Raises:
        SaveError: The file cannot be opened or is no such cache.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._identity = identity
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"{path.parent} cannot be made: {error}.") from error
        self._run("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL)")

    def get(self, pairs: Sequence[Pair]) -> dict[Pair, float]:
        """The scores that are known."""
        keys = {content_hash(self._identity, *pair): pair for pair in pairs}
        names = list(keys)
        found: dict[Pair, float] = {}
        for start in range(0, len(names), _SELECT):
            part = names[start : start + _SELECT]
            marks = ",".join("?" * len(part))
            rows = self._run(f"SELECT key, score FROM scores WHERE key IN ({marks})", part)
            found.update((keys[key], score) for key, score in rows)
        return found

    def put(self, scores: Iterable[tuple[Pair, float]]) -> None:
        """Adds scores; they are on the disk when this returns."""
        rows = [(content_hash(self._identity, *pair), score) for pair, score in scores]
        with self._problems(), closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    def _run(self, statement: str, values: Sequence[str] = ()) -> list[tuple[str, float]]:
        with self._problems(), closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def _problems(self) -> _Problems:
        return _Problems(self.path)


class _Problems:
    """Turns SQLite's errors into one that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise SaveError(
                f"{self._path}: {error}. Check the disk and its permissions; if the file is "
                "damaged, remove it and the scores in it are computed anew."
            ) from error
