"""Readers and writers of every format, column rules, splits, content hashes, atomic files.

Nothing here needs torch or transformers; ``datasets``, pyarrow and SQLAlchemy are imported when
a source of their kind is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwright.lazy import lazy_names

if TYPE_CHECKING:
    from rankwright.data.atomic import atomic_folder, atomic_write
    from rankwright.data.beir import read_beir_qrels
    from rankwright.data.beir_write import write_beir, write_beir_qrels
    from rankwright.data.columns import (
        LABEL_COLUMNS,
        ColumnRoles,
        column_roles,
        input_columns,
        label_column,
    )
    from rankwright.data.examples import InputExample, labelled_pair
    from rankwright.data.hashing import content_hash, file_fingerprint
    from rankwright.data.jsonl import read_jsonl, write_jsonl
    from rankwright.data.load import load_data
    from rankwright.data.options import LoadOptions
    from rankwright.data.split import (
        Leak,
        canonical_split,
        find_leaks,
        normalise_query,
        split_queries,
    )
    from rankwright.data.trec import ranked, read_qrels, read_run, write_qrels, write_run
    from rankwright.data.types import Qrels, RankingData, Run

__all__ = [
    "LABEL_COLUMNS",
    "ColumnRoles",
    "InputExample",
    "Leak",
    "LoadOptions",
    "Qrels",
    "RankingData",
    "Run",
    "atomic_folder",
    "atomic_write",
    "canonical_split",
    "column_roles",
    "content_hash",
    "file_fingerprint",
    "find_leaks",
    "input_columns",
    "label_column",
    "labelled_pair",
    "load_data",
    "normalise_query",
    "ranked",
    "read_beir_qrels",
    "read_jsonl",
    "read_qrels",
    "read_run",
    "resolve_ids",
    "split_queries",
    "write_beir",
    "write_beir_qrels",
    "write_jsonl",
    "write_qrels",
    "write_run",
]

_HOMES = {
    "atomic": ("atomic_folder", "atomic_write"),
    "beir": ("read_beir_qrels",),
    "beir_write": ("write_beir", "write_beir_qrels"),
    "columns": ("LABEL_COLUMNS", "ColumnRoles", "column_roles", "input_columns", "label_column"),
    "examples": ("InputExample", "labelled_pair"),
    "hashing": ("content_hash", "file_fingerprint"),
    "jsonl": ("read_jsonl", "write_jsonl"),
    "load": ("load_data",),
    "options": ("LoadOptions",),
    "resolve": ("IdResolver", "resolve_ids"),
    "split": ("Leak", "canonical_split", "find_leaks", "normalise_query", "split_queries"),
    "trec": ("ranked", "read_qrels", "read_run", "write_qrels", "write_run"),
    "types": ("Qrels", "RankingData", "Run"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__getattr__, __dir__ = lazy_names(__name__, _HOME_OF, __all__)
