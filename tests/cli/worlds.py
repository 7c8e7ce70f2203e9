"""Small data sets and a way to run commands on them."""

from __future__ import annotations

import json
import random
import types
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rankwright.cli.main import app
from tests.tiny import WORDS

CORPUS = 40


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str
    exception: BaseException | None = field(default=None, repr=False)

    @property
    def json(self) -> Any:
        """Standard output, all of it, as JSON."""
        return json.loads(self.out)


def run(*arguments: object, stdin: str | None = None) -> Finished:
    """Runs a command in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    raised = result.exception if not isinstance(result.exception, SystemExit) else None
    return Finished(result.exit_code, result.stdout, result.stderr, raised)


def assert_refused(done: Finished, *words: str) -> None:
    """One paragraph on standard error, exit code 2, no traceback, no result."""
    assert done.code == 2, done
    assert done.exception is None
    assert done.out == ""
    last = done.err.splitlines()[-1]
    assert last.startswith("error: "), done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in last, (word, last)


def texts(count: int = CORPUS) -> dict[str, str]:
    """Documents of distinct word orders."""
    generator = random.Random(7)
    words = sorted(set(WORDS))
    return {f"d{i}": " ".join(generator.sample(words, 6)) for i in range(count)}


def write_pairs(path: Path, count: int = 20) -> Path:
    """JSON Lines of (query, document) pairs."""
    rows = [
        {"query": " ".join(text.split()[:3]), "document": text} for text in texts(count).values()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_beir_folder(folder: Path) -> Path:
    """40 documents, 30 train and 10 test queries with one relevant document each."""
    corpus = texts()
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": k, "text": t} for k, t in corpus.items()])
    write_lines(
        folder / "queries.jsonl",
        [
            {"_id": f"q{i}", "text": " ".join(corpus[f"d{i}"].split()[:3])}
            for i in range(len(corpus))
        ],
    )
    for split, numbers in {"train": range(30), "test": range(30, 40)}.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in numbers)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass(frozen=True)
class FakeOptions:
    resume: bool = False
    overwrite: bool = False
    progress: bool | None = None


@dataclass(frozen=True)
class FakeResult:
    rows: list[dict[str, Any]]
    better: bool
    verdict: str = "Better. 'tuned' reaches nDCG@10 0.900."
    model_path: str | None = "out"
    output: str = "out"
    warnings: list[str] = field(default_factory=lambda: ["only 10 test queries"])
    seconds: float = 90.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


ROWS = [
    {"system": "BM25", "nDCG@10": 0.5, "RR@10": 0.875, "pairs_per_second": None},
    {"system": "tuned", "nDCG@10": 0.9, "RR@10": 0.625, "pairs_per_second": 1234.5},
]


def fake_pipeline(
    calls: list[Any], better: bool = True, raises: BaseException | None = None
) -> Any:
    """A module in the place of `rankwright.recipes.pipeline`."""
    module: Any = types.ModuleType("rankwright.recipes.pipeline")

    def run_pipeline(recipe: Any, options: Any) -> FakeResult:
        calls.append((recipe, options))
        print("a library that prints")
        if raises is not None:
            raise raises
        return FakeResult(ROWS, better, model_path="out" if better else None)

    module.PipelineOptions, module.run_pipeline = FakeOptions, run_pipeline
    return module
