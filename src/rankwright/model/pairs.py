"""What callers pass as pairs, to a plain list of (query, document)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.errors import InputError, InputTypeError

__all__ = ["Pair", "PairInputs", "read_pairs"]

Pair = tuple[str, str]

_EXPECTED = (
    "expected a list of (query, document) pairs, one pair, or columns such as "
    '{"query": [...], "document": [...]}'
)
_QUERY_NAMES = (
    "query",
    "question",
    "anchor",
    "sentence1",
    "sentence_1",
    "sentence_A",
    "text1",
    "premise",
)
_DOCUMENT_NAMES = (
    "document",
    "passage",
    "doc",
    "answer",
    "response",
    "positive",
    "text",
    "sentence2",
    "sentence_2",
    "sentence_B",
    "text2",
    "hypothesis",
)


@dataclass(frozen=True)
class PairInputs:
    """Pairs, and whether the caller passed a single one and wants a single score."""

    pairs: list[Pair]
    single: bool


def read_pairs(inputs: Any) -> PairInputs:
    """Pairs from any of the forms that ``predict`` takes.

    - one pair: ``("q", "d")``, ``["q", "d"]``, ``{"query": "q", "document": "d"}`` or an array
      of two strings;
    - many: any iterable of pairs (list, generator, ``zip``), of rows as mappings, or an array of
      shape (n, 2);
    - columns: a mapping of columns, a ``datasets.Dataset`` or a ``pandas.DataFrame``.

    Raises:
        InputTypeError: A bare string, None, a list of strings that is no pair, or a pair that
            holds something else than two strings; the message names the position.
        InputError: A pair of another length than two, or columns without a query or document.
    """
    if isinstance(inputs, (str, bytes)):
        raise InputTypeError(f"inputs is the bare string {_short(inputs)}; {_EXPECTED}.")
    if inputs is None:
        raise InputTypeError(f"inputs is None; {_EXPECTED}.")
    if isinstance(inputs, Mapping):
        return _from_mapping(inputs)
    names = getattr(inputs, "column_names", None)  # datasets.Dataset
    if names is None:
        names = getattr(inputs, "columns", None)  # pandas.DataFrame
    if names is not None:
        return PairInputs(_from_columns(inputs, [str(name) for name in names]), single=False)
    if hasattr(inputs, "tolist"):  # numpy, without importing it
        inputs = inputs.tolist()
    if not isinstance(inputs, Iterable):
        raise InputTypeError(f"inputs is {_short(inputs)}; {_EXPECTED}.")
    items = list(inputs)
    if items and isinstance(items[0], str):
        return PairInputs([_single(items)], single=True)
    pick = _RowReader()
    return PairInputs([_pair(item, i, pick) for i, item in enumerate(items)], single=False)


def _single(items: Sequence[Any]) -> Pair:
    if len(items) != 2:
        raise InputTypeError(
            f"inputs is a list of {len(items)} strings, which is no (query, document) pair; "
            f"{_EXPECTED}. To score one query against many documents, use "
            "rank(query, documents)."
        )
    if not isinstance(items[1], str):
        raise InputTypeError(
            f"inputs[0] is the string {_short(items[0])} but inputs[1] is {_short(items[1])}; "
            f"{_EXPECTED}."
        )
    return items[0], items[1]


def _pair(item: Any, index: int, pick: _RowReader) -> Pair:
    # The plain case first: this runs once per pair.
    if isinstance(item, (tuple, list)) and len(item) == 2:
        first, second = item
        if isinstance(first, str) and isinstance(second, str):
            return first, second
    if hasattr(item, "tolist"):
        item = item.tolist()
    if isinstance(item, Mapping):
        item = pick(item, index)
    if isinstance(item, str) or not isinstance(item, (tuple, list)):
        raise InputTypeError(
            f"inputs[{index}] is {_short(item)}; expected a (query, document) pair of two strings."
        )
    if len(item) != 2:
        raise InputError(
            f"inputs[{index}] has {len(item)} elements; "
            "expected exactly two, the query and the document."
        )
    for position, text in enumerate(item):
        if not isinstance(text, str):
            raise InputTypeError(
                f"inputs[{index}][{position}] is {_short(text)}; expected a string."
            )
    return item[0], item[1]


class _RowReader:
    """Reads rows given as mappings; rows with the same names are looked up once."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] | None = None
        self._columns = ("", "")

    def __call__(self, row: Mapping[str, Any], index: int) -> list[Any]:
        names = tuple(row)
        if names != self._names:
            self._columns = _choose(names, f"inputs[{index}]")
            self._names = names
        return [row[name] for name in self._columns]


def _from_mapping(inputs: Mapping[str, Any]) -> PairInputs:
    if not inputs:
        raise InputError(f"inputs is an empty mapping; {_EXPECTED}.")
    query, document = _choose(tuple(inputs), "inputs")
    if isinstance(inputs[query], str):
        return PairInputs([_single([inputs[query], inputs[document]])], single=True)
    return PairInputs(_from_columns(inputs, list(inputs)), single=False)


def _from_columns(inputs: Any, names: Sequence[str]) -> list[Pair]:
    query, document = _choose(tuple(names), "inputs")
    queries, documents = list(inputs[query]), list(inputs[document])
    if len(queries) != len(documents):
        raise InputError(
            f"Column '{query}' has {len(queries)} values but '{document}' has {len(documents)}; "
            "both must be equally long."
        )
    pick = _RowReader()
    rows = zip(queries, documents, strict=True)
    return [_pair(pair, index, pick) for index, pair in enumerate(rows)]


def _choose(names: tuple[str, ...], where: str) -> tuple[str, str]:
    query = next((name for name in _QUERY_NAMES if name in names), None)
    document = next((name for name in _DOCUMENT_NAMES if name in names), None)
    if query is not None and document is not None:
        return query, document
    if len(names) == 2:
        return names[0], names[1]
    missing = "a query" if query is None else "a document"
    raise InputError(
        f"{where} has the columns {list(names)}, of which none is known as {missing}. Name them "
        "'query' and 'document', or pass zip(data['...'], data['...'])."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]}{'…' if len(text) > 60 else ''} ({type(value).__name__})"
