"""Workers, the files they share, and the measurement of one row."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.deploy.candidates import CANDIDATES, REFERENCE, Candidate
from benchmarks.deploy.settings import Settings
from benchmarks.engine import workloads
from benchmarks.engine.client import ROOT, Client, WorkerError, alternate, environment
from benchmarks.engine.results import summary
from scipy.stats import kendalltau

from rankwright.data.types import RankingData
from rankwright.evaluation import evaluate_run
from rankwright.mining import BM25, retrieve

__all__ = ["Bench", "files_mib"]

MEASURE = "nDCG@10"


@dataclass
class Bench:
    """What rows share.

    Attributes:
        settings: How much is measured.
        work: Folder of models, texts, scores and logs.
        data: Folder that holds nl2bash; None judges rankings on code search.
        quick: Whether the figures mean nothing.
        python: The Python of an environment by its name; made on first use.
    """

    settings: Settings
    work: Path
    data: Path | None
    quick: bool
    python: Callable[[str], Path]

    # --- models and texts -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Trains and exports, unless that was done with the same settings before."""
        s = self.settings
        said = {
            "work": str(self.work),
            "data": None if self.data is None else str(self.data),
            "settings": asdict(s),
            "quick": self.quick,
        }
        stamp = self.work / "prepared.json"
        text = json.dumps(said, sort_keys=True)
        # How often and how much is measured afterwards makes no difference to the models.
        decides = [s.train_queries, s.train_steps, s.tuning_pairs, s.seed]
        made = json.dumps({**said, "settings": decides}, sort_keys=True)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == made:
            return
        print("Training one model and exporting it (some minutes)", flush=True)
        self.work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.deploy.prepare", text]
        with (self.work / "prepare.log").open("w", encoding="utf-8") as log:
            subprocess.run(command, cwd=ROOT, env=environment(), stdout=log, stderr=log, check=True)
        stamp.write_text(made, encoding="utf-8")

    @cached_property
    def code(self) -> RankingData:
        """Work load A."""
        return workloads.read("A")

    @cached_property
    def pairs_file(self) -> str:
        """Pairs of code search."""
        found = workloads.pairs(self.code, self.settings.pairs)
        return str(workloads.write(self.work / "pairs.json", found))

    @cached_property
    def lists_file(self) -> str:
        """Queries with many documents."""
        s = self.settings
        found = workloads.lists(self.code, s.lists, s.documents)
        return str(workloads.write(self.work / "lists.json", found))

    @cached_property
    def judged(self) -> tuple[list[tuple[str, str]], dict[str, dict[str, int]]]:
        """Test queries with BM25's candidates, as ids, and their judgements; texts go to a file."""
        s = self.settings
        data = self.code if self.data is None else workloads.read("B", self.data)
        qrels = data.qrels["test"]
        chosen = sorted(qrels, key=lambda q: hashlib.sha256(q.encode()).digest())
        chosen = chosen[: s.quality_queries]
        queries = {q: data.queries[q] for q in chosen}
        run = retrieve(BM25(), data.corpus, queries, s.quality_depth, False)
        names = [(q, d) for q, hits in run.items() for d in hits]
        texts = [(data.queries[q], data.corpus[d], 0.0) for q, d in names]
        workloads.write(self.work / "quality.json", texts)
        return names, {q: qrels[q] for q in chosen}

    # --- workers --------------------------------------------------------------------------------

    def start(self, candidate: Candidate) -> tuple[Client, float]:
        """A fresh worker, and the seconds from its start to its first score."""
        python = self.python(candidate.python)
        if candidate.python == "peer-openvino":
            self._convert(python)
        paths = ("folder", "file", "tokenizer")
        options = {k: str(self.work / v) if k in paths else v for k, v in candidate.options.items()}
        began = time.perf_counter()
        client = self._client(candidate.side, python, candidate.worker)
        try:
            client.ask("load", **options)
        except WorkerError:
            client.close()
            raise
        return client, time.perf_counter() - began

    def _client(self, library: str, python: Path, module: str) -> Client:
        return Client(library, python, self.work / f"{library}.log", module)

    def _convert(self, python: Path) -> None:
        target = self.work / "peer-openvino"
        if target.is_dir():
            return
        client = self._client("peer", python, "benchmarks.deploy.worker_peer")
        try:
            client.ask("convert", folder=str(self.work / "model"), target=str(target))
        finally:
            client.close()

    def versions(self, name: str) -> dict[str, str]:
        """What is installed in an environment."""
        module = f"benchmarks.deploy.worker_{'ours' if name == 'ours' else 'peer'}"
        client = self._client(name, self.python(name), module)
        try:
            found: dict[str, str] = client.ask("versions")["versions"]
            return found
        finally:
            client.close()

    @cached_property
    def reference(self) -> Client:
        """The worker that every row takes turns with, warm."""
        candidate = next(c for c in CANDIDATES if c.name == REFERENCE)
        client, _ = self.start(candidate)
        client.ask("predict", file=self.pairs_file)
        return client

    def close(self) -> None:
        """Ends the worker that is kept."""
        if "reference" in self.__dict__:
            self.__dict__.pop("reference").close()

    # --- one row --------------------------------------------------------------------------------

    def measure(self, candidate: Candidate) -> dict[str, Any]:
        """Everything that the table says of one candidate."""
        s = self.settings
        file = self.pairs_file
        starts = []
        for left in reversed(range(s.starts)):
            client, seconds = self.start(candidate)
            starts.append(seconds)
            if left:
                client.close()
        try:
            batch = None if candidate.fixed_batch else self._best_batch(client)
            client.ask("predict", file=file, batch=batch)  # warms it up

            def once(who: Client, size: int | None) -> Callable[[int], float]:
                return lambda _: float(
                    who.ask("predict", file=file, batch=size)["pairs_per_second"]
                )

            mine, other = alternate(once(client, batch), once(self.reference, None), s.repeats)
            latencies = [
                ms
                for _ in range(s.repeats)
                for ms in client.ask("rank", file=self.lists_file, batch=batch)["latencies"]
            ]
            return {
                "side": candidate.side,
                "title": candidate.title,
                "batch": batch,
                "pairs_per_second": summary("pairs/s", mine),
                "reference": summary("pairs/s", other),
                # The reference beside itself is 1, whatever two processes of it happened to take.
                "relative": 1.0
                if candidate.name == REFERENCE
                else median(a / b for a, b in zip(mine, other, strict=True)),
                "rank_ms": summary("ms", latencies),
                "start_seconds": summary("s", starts),
                "size_mib": files_mib(self.work, candidate.files),
                "peak_mib": client.ask("peak")["mib"],
                **self._quality(client, candidate.name, batch),
                **self._proof(candidate),
            }
        finally:
            client.close()

    def _best_batch(self, client: Client) -> int:
        s = self.settings
        plan = {"file": self.pairs_file, "count": s.tuning_pairs}
        rates = {
            batch: max(
                client.ask("predict", batch=batch, **plan)["pairs_per_second"] for _ in range(2)
            )
            for batch in s.batches
        }
        return max(rates, key=lambda batch: rates[batch])

    def _quality(self, client: Client, name: str, batch: int | None) -> dict[str, Any]:
        """nDCG@10, and the distance from float32 on the same candidates."""
        names, qrels = self.judged
        output = self.work / f"scores-{name}.npy"
        client.ask("predict", file=str(self.work / "quality.json"), batch=batch, output=str(output))
        scores = np.load(output)
        ranked: dict[str, dict[str, float]] = {q: {} for q in qrels}
        for (q, d), score in zip(names, scores.tolist(), strict=True):
            ranked[q][d] = score
        found = {"ndcg": evaluate_run(qrels, ranked, [MEASURE]).mean[MEASURE]}
        exact = self.work / f"scores-{CANDIDATES[0].name}.npy"
        if exact.is_file():
            wanted = np.load(exact)
            taus, begin = [], 0
            for hits in ranked.values():
                part = slice(begin, begin + len(hits))
                begin += len(hits)
                if len(hits) > 1:
                    taus.append(kendalltau(wanted[part], scores[part]).statistic)
            found["kendall_tau"] = float(np.nanmean(taus))
            found["difference"] = float(np.abs(wanted - scores).max() / np.ptp(wanted))
        return found

    def _proof(self, candidate: Candidate) -> dict[str, Any]:
        """What our own gate said of an export."""
        if candidate.side != "ours":
            return {}
        file = self.work / candidate.options["folder"] / "exports.json"
        if not file.is_file():
            return {}
        entry = json.loads(file.read_text(encoding="utf-8"))["exports"][0]
        return {"kept_in_float32": entry["kept"], "gate": entry["agreement"]}


def files_mib(work: Path, patterns: tuple[str, ...]) -> float:
    """Size of the files that the patterns name, in MiB."""
    files = {file for pattern in patterns for file in work.glob(pattern) if file.is_file()}
    return sum(file.stat().st_size for file in files) / 2**20
