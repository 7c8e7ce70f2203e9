"""Documents in a file, ranked for one query or for a file of queries."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rankwright.data.columns import DOCUMENT_NAMES, QUERY_NAMES
from rankwright.data.files import read_lines, require_file
from rankwright.data.jsonl import write_jsonl
from rankwright.data.load import FILE_FORMATS
from rankwright.data.table import Place, Table
from rankwright.data.trec import write_run
from rankwright.errors import (
    ColumnError,
    DuplicateIdError,
    EmptyDataError,
    FormatError,
    InputError,
    MissingDependencyError,
    ModelNotFoundError,
)
from rankwright.model.exports import BACKENDS as EXPORTED
from rankwright.model.exports import PRECISIONS

__all__ = [
    "BACKENDS",
    "RankOptions",
    "check_output",
    "checked_query",
    "rank_texts",
    "read_texts",
    "write_rankings",
]

STDIN = "-"
BACKENDS = ("auto", "torch", *EXPORTED)
ID_NAMES = ("id", "_id", "docid", "doc_id", "document_id", "qid", "query_id")
LINES = (".txt", ".text")
TREC = (".trec", ".run", ".res")
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class RankOptions:
    """How to rank.

    Attributes:
        model: Folder or hub name.
        top_k: How many documents of each query to return; None for all.
        max_length: Most tokens per pair; None takes the model's own limit.
        precision: With PyTorch ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"`` or
            ``"int16"``; of exported models ``"fp32"``, ``"bf16"``, ``"int16"`` or ``"int8"``, and
            ``"auto"`` for the fastest.
        progress: Show progress bars; None shows them when logging is at INFO or lower.
        backend: One of `BACKENDS`; ``"auto"`` takes an exported model of the folder, where there
            is one that was found to agree with float32, else the weights. None takes the weights
            where PyTorch is installed, else an exported model.
    """

    model: str
    top_k: int | None = None
    max_length: int | None = None
    precision: str = "auto"
    progress: bool | None = None
    backend: str | None = None


def read_texts(source: str, what: str, column: str | None = None) -> dict[str, str]:
    """Texts of a file by id, in its order.

    A ``.txt`` file and ``-`` (standard input) hold one text per line, and the line's number is its
    id. Other files have a column of texts and perhaps one of ids (``id``, ``_id``, ``docid`` …);
    without it, the line's or row's number is the id. In rows with ``_id`` and ``title``, as in
    BEIR's corpus.jsonl, the title is put before the text, as when training on such a folder.

    Args:
        source: Path, or ``-``.
        what: ``"document"`` or ``"query"``.
        column: Column of the texts; None finds it by name.

    Raises:
        DataNotFoundError: No such file.
        FormatError: A kind of file that is not read, or a line that cannot be.
        ColumnError: The column of texts cannot be told.
        EmptyDataError: No texts, or an empty one.
        DuplicateIdError: Two rows with one id.
    """
    rows = _lines(source) if _is_lines(source) else _rows(Path(source).expanduser(), what, column)
    texts: dict[str, str] = {}
    for place, key, text in rows:
        if key in texts:
            raise place.error(DuplicateIdError, f"the id '{key}' stands for two texts.")
        texts[key] = text
    if not texts:
        where = "Standard input" if source == STDIN else source
        raise EmptyDataError(f"{where} holds no {what}; at least one is needed.")
    return texts


def checked_query(query: str) -> str:
    """The query, unless it is empty.

    Raises:
        InputError: It is.
    """
    if not query.strip():
        raise InputError("The query is empty; give a text after --query.")
    return query


def _is_lines(source: str) -> bool:
    names = [ending.lower() for ending in Path(source).suffixes if ending.lower() != ".gz"]
    return source == STDIN or (bool(names) and names[-1] in LINES)


def _lines(source: str) -> Iterator[tuple[Place, str, str]]:
    numbered: Iterable[tuple[int, str]]
    if source == STDIN:
        numbered = enumerate((line.rstrip("\r\n") for line in sys.stdin), start=1)
    else:
        numbered = read_lines(Path(source).expanduser())
    for number, line in numbered:
        if line.strip():
            yield Place(source, number), str(number), line


def _rows(path: Path, what: str, column: str | None) -> Iterator[tuple[Place, str, str]]:
    require_file(path, f"{what} file")
    table = _table(path)
    column = column or _text_column(table, what)
    if column not in table.columns:
        raise ColumnError(
            f"there is no column '{column}'; the columns are {', '.join(table.columns)}.",
            path=path,
        )
    key = next((name for name in ID_NAMES if name in table.columns), None)
    for number, row in table.rows:
        place = table.place(number)
        text = row.get(column)
        if not isinstance(text, str) or not text.strip():
            raise place.error(
                EmptyDataError if text is None or isinstance(text, str) else FormatError,
                f"expected a text, found {text!r:.60}. Fill it in or remove the row.",
                column,
            )
        title = row.get("title") if key == "_id" else None
        if isinstance(title, str) and title.strip() and column != "title":
            text = f"{title} {text}"
        given = row.get(key) if key is not None else None
        yield place, str(number if given is None else given), text


def _table(path: Path) -> Table:
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    read = FILE_FORMATS.get(endings[-1]) if endings else None
    if read is None or path.is_dir():
        raise FormatError(
            f"cannot be read; expected a file that ends in .txt (one text per line) or in "
            f"{', '.join(FILE_FORMATS)}, or - for lines on standard input.",
            path=path,
        )
    return read(path)


def _text_column(table: Table, what: str) -> str:
    known = QUERY_NAMES if what == "query" else DOCUMENT_NAMES
    names = [name for name in table.columns if name.strip().lower() in ("text", *known)]
    if len(names) == 1:
        return names[0]
    if len(table.columns) == 1:
        return table.columns[0]
    problem = f"{', '.join(names)} could each hold the texts" if names else "no column is known"
    raise ColumnError(
        f"{problem}; the columns are {', '.join(table.columns)}. Name the column with "
        f"--{what}-column, or call it 'text'.",
        path=table.path,
    )


def rank_texts(
    queries: Mapping[str, str], documents: Mapping[str, str], options: RankOptions
) -> Iterator[dict[str, Any]]:
    """Ranks all documents for every query, one query at a time.

    Yields:
        ``{"query_id", "query", "ranking": [{"rank", "id", "score", "text"}]}``.

    Raises:
        RankwrightError: The model or an option cannot be used.
    """
    model = _open(options)
    several = len(queries) > 1
    bar = tqdm(
        queries.items(), desc="Queries", disable=not (several and options.progress is not False)
    )
    for query_id, query in bar:
        ranked = model.rank(
            query,
            list(documents.values()),
            ids=list(documents),
            top_k=options.top_k,
            return_documents=True,
            show_progress_bar=False if several else options.progress,
        )
        yield {
            "query_id": query_id,
            "query": query,
            "ranking": [
                {"rank": rank, "id": hit["id"], "score": hit["score"], "text": hit["text"]}
                for rank, hit in enumerate(ranked, start=1)
            ],
        }


def _open(options: RankOptions) -> Any:
    """A `CrossEncoder` or a `Reranker`."""
    backend = options.backend or ("torch" if find_spec("torch") is not None else "auto")
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is not known; choose one of {', '.join(BACKENDS)}.")
    # "float32" and the like are formats of PyTorch: naming one asks for the weights.
    if backend in EXPORTED or (backend == "auto" and _exported(options.precision)):
        from rankwright.model.reranker import Reranker

        precision = None if options.precision == "auto" else options.precision
        try:
            return Reranker(
                options.model,
                backend=backend,
                precision=precision,
                max_length=options.max_length,
            )
        except (ModelNotFoundError, MissingDependencyError):
            if backend != "auto" or find_spec("torch") is None:
                raise
    from rankwright.model import CrossEncoder

    return CrossEncoder(options.model, max_length=options.max_length, precision=options.precision)


def _exported(precision: str) -> bool:
    return precision in ("auto", *PRECISIONS)


def check_output(path: str | Path) -> Path:
    """The path, if its ending says how to write rankings.

    Raises:
        InputError: Another ending.
    """
    path = Path(path)
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    if not endings or endings[-1] not in (*TREC, *JSON_LINES):
        raise InputError(
            f"{path} does not say in which format to write: end it in {', '.join(TREC)} for a "
            f"TREC run or in {', '.join(JSON_LINES)} for JSON Lines."
        )
    return path


def write_rankings(rankings: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Writes what `rank_texts` yields, atomically, and returns the number of queries.

    Raises:
        InputError: See `check_output`.
        SaveError: The file could not be written; what was there is untouched.
    """
    path = check_output(path)
    rows = list(rankings)
    if JSON_LINES[0] in path.suffixes or JSON_LINES[1] in path.suffixes:
        write_jsonl(rows, path)
    else:
        write_run(
            {row["query_id"]: {d["id"]: d["score"] for d in row["ranking"]} for row in rows}, path
        )
    return len(rows)
