"""What the workers of both libraries share: commands in, answers out, and how time is taken.

A worker reads one JSON command per line on stdin and answers with one line on stdout. This module
runs in the environment of either library, so it imports neither.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import platform
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine.memory import limit_memory, peak_mib, resident_mib, restart_peak

__all__ = ["Worker", "read_rows", "serve"]

PACKAGES = (
    "rankwright",
    "sentence-transformers",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "numpy",
    "tokenizers",
)
LEARNING_RATE = 2e-5


class Worker:
    """Commands are the methods called ``do_…``; each takes the command's other entries."""

    def __init__(self) -> None:
        self.folder = ""
        self.models: dict[str, Any] = {}

    # --- what a library fills in --------------------------------------------------------------

    def open(self, precision: str, max_length: int | None = None) -> Any:
        """A new model from ``self.folder``, on the CPU."""
        raise NotImplementedError

    def scores(
        self, model: Any, pairs: list[tuple[str, str]], precision: str, batch: int | None
    ) -> Any:
        """Logits ``(P,)``; ``batch`` None is the library's default."""
        raise NotImplementedError

    def rank(self, model: Any, query: str, documents: list[str], precision: str) -> Any:
        """The ranked documents of one query."""
        raise NotImplementedError

    def trainer(self, model: Any, rows: Any, loss: dict[str, Any], arguments: Any) -> Any:
        """The library's trainer; ``loss`` is name and options, ``arguments`` its settings."""
        raise NotImplementedError

    # --- commands -----------------------------------------------------------------------------

    def do_load(self, folder: str, precisions: list[str]) -> dict[str, Any]:
        """Loads the model once per precision."""
        self.folder = folder
        started = time.perf_counter()
        self.models = {precision: self.open(precision) for precision in precisions}
        return {"seconds": time.perf_counter() - started}

    def do_versions(self) -> dict[str, Any]:
        """What is installed here."""
        found = {"python": platform.python_version()}
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found

    def do_predict(
        self,
        file: str,
        count: int,
        precision: str,
        batch: int | None = None,
        output: str | None = None,
    ) -> dict[str, Any]:
        """Scores the first ``count`` pairs of a file."""
        pairs = [(query, document) for query, document, *_ in read_rows(file)[:count]]
        model = self.models[precision]
        started = time.perf_counter()
        scores = self.scores(model, pairs, precision, batch)
        seconds = time.perf_counter() - started
        values = np.ascontiguousarray(np.asarray(scores, dtype=np.float32).reshape(len(pairs)))
        if output is not None:
            np.save(output, values)
        return {
            "seconds": seconds,
            "pairs": len(pairs),
            "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
            "spread": float(values.std()),
        }

    def do_rank(self, file: str, count: int, precision: str) -> dict[str, Any]:
        """Seconds per query, one query after the other."""
        latencies = []
        for query, documents in read_rows(file)[:count]:
            started = time.perf_counter()
            self.rank(self.models[precision], query, documents, precision)
            latencies.append(time.perf_counter() - started)
        return {"latencies": latencies}

    def do_train(
        self, file: str, steps: int, batch: int, precision: str, seed: int, work: str
    ) -> dict[str, Any]:
        """One epoch over ``steps * batch`` pairs; the first step does not count."""
        import torch
        from transformers import TrainerCallback

        ends: list[float] = []

        class Clock(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                ends.append(time.perf_counter())

        torch.manual_seed(seed)
        rows = _labelled(file, steps * batch)
        arguments = _arguments(work, batch, precision, seed)
        trainer = self.trainer(
            self.open("float32"), rows, {"name": "BinaryCrossEntropyLoss"}, arguments
        )
        trainer.add_callback(Clock())
        output = trainer.train()
        products = "bfloat16" if trainer.args.bf16 else "float32"
        del trainer
        gc.collect()
        if len(ends) != steps:
            raise RuntimeError(f"{len(ends)} steps were made in place of {steps}")
        took = np.diff(ends)
        return {
            "pairs_per_second": float((steps - 1) * batch / took.sum()),
            "step_seconds": took.tolist(),
            "loss": float(output.training_loss),
            "products": products,
        }

    def do_curve(
        self,
        file: str,
        steps: int,
        batch: int,
        learning_rate: float,
        precision: str,
        seed: int,
        work: str,
    ) -> dict[str, Any]:
        """The loss of every step of one epoch over ``steps * batch`` pairs."""
        import torch

        torch.manual_seed(seed)
        arguments = _arguments(work, batch, precision, seed)
        arguments |= {
            "learning_rate": learning_rate,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
        }
        trainer = self.trainer(
            self.open("float32"),
            _labelled(file, steps * batch),
            {"name": "BinaryCrossEntropyLoss"},
            arguments,
        )
        trainer.train()
        return {
            "losses": [log["loss"] for log in trainer.state.log_history if "loss" in log],
            "products": "bfloat16" if trainer.args.bf16 else "float32",
        }

    def do_memory(
        self, file: str, queries: int, mini_batch: int | None, max_length: int, work: str
    ) -> dict[str, Any]:
        """Peak memory above the loaded model, in one listwise step, optimiser included."""
        from datasets import Dataset

        lists = read_rows(file)[:queries]
        rows = Dataset.from_dict(
            {
                "query": [query for query, _ in lists],
                "documents": [documents for _, documents in lists],
                "labels": [[1.0] + [0.0] * (len(documents) - 1) for _, documents in lists],
            }
        )
        loss: dict[str, Any] = {"name": "ListNetLoss"}
        if mini_batch is not None:
            loss["mini_batch_size"] = mini_batch
        model = self.open("float32", max_length)
        trainer = self.trainer(model, rows, loss, _arguments(work, queries, "fp32", 12))
        gc.collect()
        limit_memory()
        before, exact = resident_mib(), restart_peak()
        trainer.train()
        return {"mib": peak_mib() - before, "model_mib": before, "peak_restarted": exact}


def _arguments(work: str, batch: int, precision: str, seed: int) -> dict[str, Any]:
    """Settings both libraries take; everything that is not named keeps its default."""
    return {
        "output_dir": work,
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch,
        "learning_rate": LEARNING_RATE,
        "bf16": precision == "bf16",
        "seed": seed,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def _labelled(file: str, count: int) -> Any:
    """The first ``count`` pairs of a file as a data set with labels."""
    from datasets import Dataset

    queries, documents, labels = zip(*read_rows(file)[:count], strict=True)
    return Dataset.from_dict(
        {"query": list(queries), "document": list(documents), "label": list(labels)}
    )


def read_rows(file: str) -> list[Any]:
    """What the driver wrote for both workers."""
    rows: list[Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return rows


def serve(worker: Any) -> None:
    """Answers commands, the worker's methods called ``do_…``, until stdin ends."""
    # Libraries print too: only answers may go to the real stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            found = getattr(worker, f"do_{command.pop('do')}")(**command)
            answer = {"ok": True, **found}
        except Exception as error:  # the driver decides what a failure means
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
