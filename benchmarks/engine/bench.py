"""Both workers, the files they share, and what single measurements ask of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.engine import workloads
from benchmarks.engine.client import Client
from benchmarks.engine.settings import Settings

from rankwright.data.types import RankingData

__all__ = ["Bench"]

Trials = dict[tuple[str, int | None], float]
"""Seconds by number format and batch size."""


@dataclass
class Bench:
    """Both workers, the folder they share, and what rows learn for later ones.

    Attributes:
        settings: How much is measured.
        work: Folder for texts, scores and logs.
        data: Folder of B and C, or None.
        fresh: Starts a new worker: "ours" or "peer".
    """

    settings: Settings
    work: Path
    data: Path | None
    fresh: Callable[[str], Client]
    _texts: dict[str, RankingData] = field(default_factory=dict)
    _written: set[Path] = field(default_factory=set)

    @cached_property
    def model(self) -> str:
        """The folder of the model that both load; built on first use."""
        folder = self.work / "model"
        client = self.fresh("ours")
        try:
            client.ask("make", folder=str(folder), seed=self.settings.seed)
        finally:
            client.close()
        return str(folder)

    @cached_property
    def ours(self) -> Client:
        """Our worker, with the model loaded."""
        return self._loaded("ours", ["float32", "auto"])

    @cached_property
    def peer(self) -> Client:
        """The peer's worker, with the model loaded in both formats."""
        return self._loaded("peer", ["float32", "bfloat16"])

    def _loaded(self, library: str, precisions: list[str]) -> Client:
        model = self.model
        client = self.fresh(library)
        client.ask("load", folder=model, precisions=precisions)
        return client

    def close(self) -> None:
        """Ends the workers that were started."""
        for name in ("ours", "peer"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def read(self, name: str) -> RankingData:
        """The data of a work load, read once."""
        if name not in self._texts:
            self._texts[name] = workloads.read(name, self.data)
        return self._texts[name]

    def pairs_file(self, name: str, count: int) -> str:
        """``count`` pairs of a work load as a file."""
        path = self.work / f"pairs-{name}-{count}.json"
        if path not in self._written:  # one of an earlier run may hold other texts
            workloads.write(path, workloads.pairs(self.read(name), count))
            self._written.add(path)
        return str(path)

    def training(self, load: str, precision: str) -> dict[str, Any]:
        """What a worker is told to train on a work load."""
        s = self.settings
        return {
            "file": self.pairs_file(load, s.train_steps[load] * s.train_batch),
            "steps": s.train_steps[load],
            "batch": s.train_batch,
            "precision": precision,
            "work": str(self.work / "trainer"),
        }

    def lists_file(self, count: int, documents: int) -> str:
        """``count`` lists of work load A as a file."""
        path = self.work / f"lists-A-{count}x{documents}.json"
        if path not in self._written:
            workloads.write(path, workloads.lists(self.read("A"), count, documents))
            self._written.add(path)
        return str(path)

    @cached_property
    def best(self) -> dict[str, tuple[str, int | None]]:
        """The fastest format and batch size of each side, by trial on a part of A."""
        s = self.settings
        file = self.pairs_file("A", s.predict_pairs)
        sizes: list[int | None] = [None, *s.tuning_batches]

        def trials(client: Client, precision: str, bound: float = math.inf) -> Trials:
            found: Trials = {}
            for batch in sizes if client is self.ours else sizes[1:]:
                plan = {"count": s.tuning_pairs, "precision": precision, "batch": batch}
                took = [client.ask("predict", file=file, **plan)["seconds"] for _ in range(2)]
                found[precision, batch] = min(took)
                if min(took) > bound:  # no other batch size makes up for that
                    break
            return found

        def fastest(found: Trials) -> tuple[str, int | None]:
            return min(found, key=lambda key: found[key])

        exact = trials(self.peer, "float32")
        half = trials(self.peer, "bfloat16", 3 * min(exact.values()))
        return {
            "peer": fastest(exact | half),
            "peer float32": fastest(exact),
            "ours float32": fastest(trials(self.ours, "float32")),
        }

    # --- predict ------------------------------------------------------------------------------

    def predict(self, client: Client, precision: str, batch: int | None, name: str) -> float:
        """Pairs per second on A; the scores go to ``scores-<name>.npy``."""
        s = self.settings
        answer = client.ask(
            "predict",
            file=self.pairs_file("A", s.predict_pairs),
            count=s.predict_pairs,
            precision=precision,
            batch=batch,
            output=str(self.work / f"scores-{name}.npy"),
        )
        return float(answer["pairs"] / answer["seconds"])
