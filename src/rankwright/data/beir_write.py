"""Writing folders in BEIR's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rankwright.data.atomic import atomic_folder
from rankwright.data.beir import QRELS_HEADER
from rankwright.data.files import write_lines
from rankwright.data.jsonl import write_jsonl
from rankwright.data.trec import check_id, write_run
from rankwright.data.types import Qrels, RankingData

__all__ = ["write_beir", "write_beir_qrels"]


def write_beir_qrels(qrels: Qrels, path: str | Path) -> None:
    """Writes a BEIR qrels file with its header, atomically.

    Raises:
        InputError: An id that holds a tab or a line break.
        SaveError: The file could not be written; what was there is untouched.
    """
    for query, judged in qrels.items():
        for identifier in (query, *judged):
            check_id(identifier)
    rows = (
        f"{query}\t{document}\t{int(grade)}"
        for query, judged in qrels.items()
        for document, grade in judged.items()
    )
    write_lines(_with_header(rows), path)


def _with_header(rows: Iterable[str]) -> Iterator[str]:
    yield "\t".join(QRELS_HEADER)
    yield from rows


def write_beir(data: RankingData, folder: str | Path) -> None:
    """Writes data in BEIR's layout; reading the folder gives the same data back.

    The folder is complete or not there at all; in one that exists, files of other names are kept.
    Title and text were joined when the data was read, so titles are written empty.

    Raises:
        InputError: An id that holds a tab or a line break.
        SaveError: The folder could not be written; what was there is untouched.
    """
    with atomic_folder(folder) as place:
        write_jsonl(
            ({"_id": key, "title": "", "text": text} for key, text in data.corpus.items()),
            place / "corpus.jsonl",
        )
        write_jsonl(
            ({"_id": key, "text": text} for key, text in data.queries.items()),
            place / "queries.jsonl",
        )
        for split, qrels in data.qrels.items():
            write_beir_qrels(qrels, place / "qrels" / f"{split}.tsv")
        for split, run in data.candidates.items():
            write_run(run, place / "runs" / f"{split}.trec", tag="candidates")
        unjudged = _unjudged_negatives(data)
        if unjudged:
            write_jsonl(unjudged, place / "negatives.jsonl")


def _unjudged_negatives(data: RankingData) -> list[dict[str, Any]]:
    rows = []
    for query, documents in data.negatives.items():
        judged = {d for qrels in data.qrels.values() for d in qrels.get(query, {})}
        left = [document for document in documents if document not in judged]
        if left:
            rows.append({"_id": query, "negatives": left})
    return rows
