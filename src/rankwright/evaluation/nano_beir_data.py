"""Reads NanoBEIR's data sets, from the hub or from a local folder in the same layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwright.data.arrow import datasets_module
from rankwright.errors import ColumnError, DataNotFoundError, InputError

__all__ = ["NanoSubsets", "read_subsets"]

_COLUMNS = {
    "corpus": ("_id", "text"),
    "queries": ("_id", "text"),
    "qrels": ("query-id", "corpus-id"),
    "bm25": ("query-id", "corpus-ids"),
}
_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class NanoSubsets:
    """One data set of the collection.

    Attributes:
        split: Its name, such as ``"NanoMSMARCO"``.
        corpus: Document id -> text.
        queries: Query id -> text.
        qrels: Query id -> document id -> grade, 1 where the data has no grades.
        bm25: Query id -> document ids, best first.
    """

    split: str
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    bm25: dict[str, list[str]]


def read_subsets(dataset_id: str, split: str, revision: str | None = None) -> NanoSubsets:
    """Reads one split of the four subsets.

    Args:
        dataset_id: ``"owner/name"``, or a local folder.
        split: Such as ``"NanoMSMARCO"``.
        revision: Commit, branch or tag on the hub.

    Raises:
        DataNotFoundError: There is no such data set.
        InputError: It has no such subset or split.
        ColumnError: A column is missing.
        MissingDependencyError: ``datasets`` is not installed.
    """
    found = {name: _read(dataset_id, name, split, revision) for name in _COLUMNS}
    qrels: dict[str, dict[str, int]] = {}
    for row in found["qrels"]:
        ids = row["corpus-id"]
        grade = row.get("score")
        judged = qrels.setdefault(str(row["query-id"]), {})
        for document_id in ids if isinstance(ids, list) else [ids]:
            judged[str(document_id)] = 1 if grade is None else max(int(grade), 0)
    return NanoSubsets(
        split=split,
        corpus={str(row["_id"]): row["text"] for row in found["corpus"]},
        queries={str(row["_id"]): row["text"] for row in found["queries"]},
        qrels=qrels,
        bm25={str(row["query-id"]): list(map(str, row["corpus-ids"])) for row in found["bm25"]},
    )


def _read(dataset_id: str, subset: str, split: str, revision: str | None) -> Any:
    datasets = datasets_module("CrossEncoderNanoBEIREvaluator")
    folder = Path(dataset_id)
    files = _files(folder, subset, split)
    source: tuple[Any, ...]
    options: Mapping[str, Any]
    if files:
        source = (_READERS[files[0].suffix],)
        options = {"data_files": [str(file) for file in files], "split": "train"}
    else:
        source, options = (dataset_id, subset), {"split": split, "revision": revision}
    where = f"the subset '{subset}', split '{split}', of the data set {dataset_id}"
    try:
        dataset = datasets.load_dataset(*source, **options)
    except ValueError as error:  # an unknown subset or split
        raise InputError(
            f"Cannot read {where}: {_brief(error)} A collection like NanoBEIR has the subsets "
            f"{', '.join(_COLUMNS)}, each with a split for every data set asked for. Leave the "
            "data set out of dataset_names, or check dataset_id."
        ) from error
    except (OSError, RuntimeError) as error:
        # not found, private, offline; or files that cannot be parsed
        raise DataNotFoundError(
            f"Cannot read {where}: {_brief(error)} It is neither on the hub, as far as can be "
            f"reached, nor a local folder with files such as {subset}/{split}.jsonl or .parquet."
        ) from error
    missing = [name for name in _COLUMNS[subset] if name not in dataset.column_names]
    if missing:
        raise ColumnError(
            f"{where} has the columns {', '.join(dataset.column_names)}; it also needs "
            f"{', '.join(missing)}."
        )
    return dataset


def _files(folder: Path, subset: str, split: str) -> list[Path]:
    """Data files of a split in a local folder: ``corpus/NanoNQ.jsonl``, or in numbered parts."""
    found = [
        file
        for pattern in (f"{split}.*", f"{split}-*")
        for file in sorted((folder / subset).glob(pattern))
        if file.suffix in _READERS
    ]
    return [file for file in found if file.suffix == found[0].suffix]


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= 300 else text[:300] + "…"
    return text if text.endswith((".", "…")) else text + "."
