"""The folder a training run writes to: its recipe, its finished stages, its result.

Every stage writes its result under a key made of everything it depends on, complete or not at
all. So a run that was interrupted, or one that differs only in later stages, takes up what is
done and does the rest.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.data.atomic import atomic_write
from rankwright.data.hashing import content_hash
from rankwright.data.trec import read_run, write_run
from rankwright.data.types import Run
from rankwright.errors import ConfigError, FormatError, InputError

__all__ = ["Workspace"]

logger = logging.getLogger(__name__)

RECIPE = "recipe.yaml"
RESULTS = "results.json"


@dataclass(frozen=True)
class Workspace:
    """Paths of one run and the stages kept there.

    Attributes:
        output: The run's folder; a finished, successful model lies in it directly.
    """

    output: Path

    @property
    def work(self) -> Path:
        """Intermediate results; may be deleted once the run is finished."""
        return self.output / "work"

    @property
    def checkpoints(self) -> Path:
        """The trainer's checkpoints."""
        return self.work / "checkpoints"

    @property
    def rejected(self) -> Path:
        """Where a model goes that is not better than what was there before."""
        return self.output / "rejected-model"

    def open(self, recipe: str, *, resume: bool, overwrite: bool) -> None:
        """Prepares the folder for a run of this recipe.

        Args:
            recipe: The resolved recipe as YAML.
            resume: Whether to take up what is there.
            overwrite: Whether what is there may be replaced.

        Raises:
            InputError: The folder holds another run and neither option is given.
            ConfigError: Resuming with another recipe than the one kept in the folder.
        """
        kept = self.output / RECIPE
        if resume and kept.is_file():
            before = kept.read_text(encoding="utf-8")
            if before != recipe:
                raise ConfigError(
                    f"{kept}: the run to resume was started with another recipe. "
                    f"{_first_difference(before, recipe)} Resume with the same options, or start "
                    "anew with --overwrite or another output folder."
                )
        elif self.output.is_dir() and any(self.output.iterdir()) and not overwrite:
            raise InputError(
                f"output={str(self.output)!r} already holds files. Continue that run with "
                "--resume, replace it with --overwrite, or name another folder."
            )
        if not resume:
            self._forget()
        self.work.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as file:
            file.write(recipe)

    def _forget(self) -> None:
        """Makes sure that nothing of an earlier run is taken for this one's.

        An earlier model is moved to ``previous-model``: if this run's is not better, nothing must
        stand in its place.
        """
        (self.output / RESULTS).unlink(missing_ok=True)
        # Trees are only ever deleted where nobody but this class writes.
        for folder in (self.checkpoints, self.rejected):
            if folder.is_dir():
                shutil.rmtree(folder)
        if (self.output / "config.json").is_file():
            aside = self.output / "previous-model"
            aside.mkdir(exist_ok=True)
            for file in [*self.output.iterdir()]:
                if file.is_file() and file.name != RECIPE:
                    os.replace(file, aside / file.name)

    def run(self, name: str, key: Any, make: Callable[[], Run]) -> Run:
        """The ranked lists of a stage: read if they are there, else made and kept.

        Args:
            name: Stage, for the file name.
            key: Everything the result depends on.
            make: Computes it.
        """
        path = self.work / f"{name}-{content_hash(key)[:16]}.trec"
        if path.is_file():
            try:
                found = read_run(path)
            except FormatError as error:
                logger.warning("%s is made anew: %s", path.name, error)
            else:
                logger.info("%s: taken from %s", name, path)
                return found
        write_run(make(), path, tag=name)
        # Read back, so that ties stand in the same order as they will after an interruption.
        return read_run(path)

    def remember(self, name: str, key: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The same for small facts, kept as JSON."""
        path = self.work / f"{name}-{content_hash(key)[:16]}.json"
        if path.is_file():
            try:
                found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError:
                logger.warning("%s is made anew: it is not valid JSON.", path.name)
            else:
                return found
        made = make()
        self.write_json(path, made)
        return made

    def results(self) -> dict[str, Any] | None:
        """What a finished run left, or None."""
        path = self.output / RESULTS
        if not path.is_file():
            return None
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return loaded

    def write_results(self, results: dict[str, Any]) -> None:
        """Keeps the results; written last, so their presence says that the run is finished."""
        self.write_json(self.output / RESULTS, results)

    @staticmethod
    def write_json(path: Path, value: dict[str, Any]) -> None:
        """Writes JSON completely or not at all."""
        with atomic_write(path) as file:
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")


def _first_difference(before: str, now: str) -> str:
    def settings(text: str) -> list[str]:
        return [line.split("#")[0].rstrip() for line in text.splitlines()]

    for old, new in zip(settings(before), settings(now), strict=False):
        if old != new:
            return f"It says «{old.strip()}», this one «{new.strip()}»."
    return "One has settings that the other lacks."
