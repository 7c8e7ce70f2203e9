"""Finds training queries that are evaluated on as well.

A model remembers what it was trained on, so figures on such queries are too good. Two queries are
the same if they are after NFKC, case folding and collapsing of white space; they are compared by a
64-bit BLAKE2b hash, so that millions of rows can be looked through with little memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback

from rankwright.data.columns import input_columns
from rankwright.data.split import normalise_query
from rankwright.errors import DataError
from rankwright.training.data import is_streaming
from rankwright.training.guards import is_first_process

__all__ = ["EvaluatedTexts", "LeakCheckingCollator", "LeakWatch", "evaluated_texts"]

logger = logging.getLogger(__name__)

_EXAMPLES = 3
_BATCH = 1000


@dataclass
class EvaluatedTexts:
    """What is evaluated on, as hashes.

    Attributes:
        queries: Hash of a query -> its number.
        pairs: Hashes of (query, document).
        texts: The queries by number, for messages.
    """

    queries: dict[int, int] = field(default_factory=dict)
    pairs: set[int] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)

    def add(self, query: Any, documents: Iterable[Any]) -> None:
        """Adds a query and its documents; what is not a text is passed over."""
        if not isinstance(query, str):
            return
        key = _hash(query)
        if self.queries.setdefault(key, len(self.texts)) == len(self.texts):
            self.texts.append(query)
        self.pairs.update(_hash(query, d) for d in documents if isinstance(d, str))

    def found(self, rows: Mapping[str, Sequence[Any]]) -> tuple[set[int], int]:
        """Which queries occur in these rows, and how many pairs do.

        Args:
            rows: Column -> one value per row.
        """
        names = input_columns(list(rows))
        numbers: set[int] = set()
        pairs = 0
        if not names:
            return numbers, pairs
        for i, query in enumerate(rows[names[0]]):
            if not isinstance(query, str):
                continue
            number = self.queries.get(_hash(query))
            if number is not None:
                numbers.add(number)
                documents = _documents(rows[name][i] for name in names[1:])
                pairs += sum(_hash(query, document) in self.pairs for document in documents)
        return numbers, pairs


def evaluated_texts(held_out: Any, evaluators: Sequence[Any]) -> EvaluatedTexts:
    """Collects the texts of the evaluation data and of evaluators that show theirs.

    Evaluators show them as ``samples`` (dicts with ``query`` and documents), ``sentence_pairs``,
    or ``evaluators`` that do. Streams are passed over: they may be readable only once.

    Args:
        held_out: A `datasets.Dataset`, several by name, or None.
        evaluators: Whatever is called to evaluate.
    """
    found = EvaluatedTexts()
    for dataset in _datasets(held_out):
        if _readable(dataset):
            for rows in _batches(dataset):
                names = input_columns(list(rows))
                for values in zip(*(rows[name] for name in names), strict=True):
                    found.add(values[0], _documents(values[1:]))
    for evaluator in evaluators:
        _add_evaluator(found, evaluator)
    return found


def _add_evaluator(found: EvaluatedTexts, evaluator: Any) -> None:
    for part in getattr(evaluator, "evaluators", None) or ():
        _add_evaluator(found, part)
    samples = getattr(evaluator, "samples", None) or ()
    for sample in samples.values() if isinstance(samples, Mapping) else samples:
        if isinstance(sample, Mapping):
            keys = ("positive", "negative", "documents")
            found.add(sample.get("query"), _documents(sample.get(key) for key in keys))
    for pair in getattr(evaluator, "sentence_pairs", None) or ():
        if len(pair) == 2:
            found.add(pair[0], pair[1:])


class LeakWatch(TrainerCallback):
    """Looks through the training data before the first step, and through streams as they pass.

    Args:
        action: ``"warn"``, ``"error"`` or ``"ignore"``.
    """

    def __init__(self, action: str = "warn") -> None:
        self.action = action
        self.texts = EvaluatedTexts()
        self.numbers: set[int] = set()
        """Numbers of the queries found in the training data so far."""
        self.pairs = 0
        """How many training pairs are evaluated on as well (in streams: at least one)."""
        self._told = 0

    def look(self, train: Any, held_out: Any, evaluators: Sequence[Any]) -> None:
        """Checks all training rows that can be read twice.

        Raises:
            DataError: There is a leak, and leaks are errors.
        """
        self.texts, self.numbers, self.pairs, self._told = EvaluatedTexts(), set(), 0, 0
        if self.action == "ignore":
            return
        self.texts = evaluated_texts(held_out, evaluators)
        if not self.texts.queries:
            return
        for dataset in _datasets(train):
            if _readable(dataset):
                for rows in _batches(dataset):
                    numbers, pairs = self.texts.found(rows)
                    self.numbers |= numbers
                    self.pairs += pairs
        if self.numbers:
            self._tell(aloud=is_first_process())

    def collator(self, collator: Any, train: Any) -> Any:
        """The collator, which also checks its rows if they could not be read before."""
        known = self.action == "ignore" or not self.texts.queries
        if known or all(_readable(dataset) for dataset in _datasets(train)):
            return collator
        return LeakCheckingCollator(collator, self.texts, self.action == "error")

    def count(self, inputs: Mapping[str, Any]) -> None:
        """Takes note of a batch that a checking collator made."""
        leaked = inputs.get("leaked")
        if leaked is None or leaked.numel() == 0:
            return
        self.numbers.update(leaked.tolist())
        if not self._told:
            self._tell()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The final figure, if more leaks came with the stream."""
        if len(self.numbers) > self._told > 0:
            self._tell()

    def _tell(self, aloud: bool = True) -> None:
        self._told = len(self.numbers)
        message = _message([self.texts.texts[i] for i in sorted(self.numbers)], self.texts)
        if self.pairs:
            message += f" {self.pairs} training pairs are the very pairs that are evaluated on."
        message += (
            " Figures on them show what the model remembers, not what it can do. Take them out of "
            "the training data, or split by query."
        )
        if self.action == "error":
            raise DataError(f"{message} on_leak='warn' would go on.")
        if aloud:  # of a stream, each process sees rows of its own
            logger.warning("%s", message)


@dataclass(frozen=True)
class LeakCheckingCollator:
    """Adds to a batch the numbers of its queries that are evaluated on.

    Attributes:
        collator: Makes the batch.
        texts: What is evaluated on.
        stop: Whether to raise instead.
    """

    collator: Any
    texts: EvaluatedTexts
    stop: bool = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """The batch, with ``leaked``, int64.

        Raises:
            DataError: There is a leak, and leaks are errors.
        """
        numbers: set[int] = set()
        for row in rows:
            numbers |= self.texts.found({name: [value] for name, value in row.items()})[0]
        if numbers and self.stop:
            queries = [self.texts.texts[i] for i in sorted(numbers)]
            raise DataError(f"{_message(queries, self.texts)} on_leak='warn' would go on.")
        batch = self.collator(rows)
        batch["leaked"] = torch.tensor(sorted(numbers), dtype=torch.int64)
        return batch


def _message(queries: list[str], texts: EvaluatedTexts) -> str:
    examples = ", ".join(repr(q if len(q) <= 80 else f"{q[:80]}…") for q in queries[:_EXAMPLES])
    return (
        f"{len(queries)} of {len(texts.texts)} queries that are evaluated on are in the training "
        f"data too, such as {examples}."
    )


def _hash(*texts: str) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        plain = normalise_query(text).encode("utf-8", "surrogatepass")
        digest.update(len(plain).to_bytes(8, "little"))
        digest.update(plain)
    return int.from_bytes(digest.digest(), "little")


def _documents(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (Mapping, list, tuple)):
            yield from (text for text in value if isinstance(text, str))


def _datasets(data: Any) -> list[Any]:
    if data is None:
        return []
    return list(data.values()) if isinstance(data, Mapping) else [data]


def _readable(dataset: Any) -> bool:
    """Whether all rows can be read now without harm: no stream, nothing made on the fly."""
    style = getattr(dataset, "format", None)
    custom = isinstance(style, Mapping) and style.get("type") == "custom"
    return not is_streaming(dataset) and not custom


def _batches(dataset: Any) -> Iterator[Mapping[str, Sequence[Any]]]:
    plain = dataset.with_format(None)
    for start in range(0, len(plain), _BATCH):
        yield plain[start : start + _BATCH]
