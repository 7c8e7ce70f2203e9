"""Scores of a strong model as labels for a weaker one.

Distillation needs a teacher's score for every pair of a data set. Scoring takes long, so it is
done once, in large lots, each distinct pair a single time, and can be taken up again where it
stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from rankwright.data.columns import LABEL_COLUMNS
from rankwright.data.hashing import content_hash
from rankwright.errors import (
    ColumnError,
    EmptyDataError,
    InputError,
    InputTypeError,
    ScoreError,
)
from rankwright.mining.progress import bars_wanted
from rankwright.mining.score_cache import ScoreCache

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["TeacherOptions", "score_with_teacher"]

logger = logging.getLogger(__name__)

Pair = tuple[str, str]
Score = Callable[[list[Pair]], Any]

CACHE_FILE = "teacher_scores.sqlite"


@dataclass(frozen=True)
class TeacherOptions:
    """How a teacher scores a data set.

    Attributes:
        column: Name of the new column; None for ``"score"`` where a row is one pair, else
            ``"scores"``.
        keep_labels: Whether other label columns stay. Losses read the first of ``label``,
            ``labels``, ``score``, ``scores``, so a column that stays can hide the teacher's.
        raw: Whether a `CrossEncoder` gives its logits rather than what its activation makes of
            them: losses compare logits.
        prompt: Text for a `CrossEncoder`'s ``prompt``; None for its default.
        batch_size: Most pairs in one forward pass of a `CrossEncoder`; None lets the number of
            tokens decide.
        cache_folder: Where scores are kept, so that a run that was stopped goes on where it was;
            None keeps none.
        cache_key: Name of the teacher in the cache. A `CrossEncoder` of this library is known by
            its weights and settings and needs none.
        pairs_per_save: Pairs scored between two writes to the cache.
        show_progress_bar: None shows it when this library logs at INFO.

    Raises:
        InputError: A number below 1.
    """

    column: str | None = None
    keep_labels: bool = False
    raw: bool = True
    prompt: str | None = None
    batch_size: int | None = None
    cache_folder: str | Path | None = None
    cache_key: str | None = None
    pairs_per_save: int = 4096
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "pairs_per_save"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value}; expected at least 1.")


def score_with_teacher(
    dataset: Dataset, teacher: Any, options: TeacherOptions | None = None
) -> Dataset:
    """The data set with a column of a teacher's scores, ready for distillation.

    Rows may be pairs (query, document), tuples (query, document_1, document_2, ...) or lists
    (query, [documents]), as losses take them: `MSELoss` learns from scores of pairs,
    `MarginMSELoss` from tuples, listwise losses from lists. The first text column is the query.

    Args:
        dataset: Rows in one of the three layouts; labels in it are not looked at.
        teacher: A `CrossEncoder`, anything else with a ``predict``, or a function; the last two
            take a list of N (query, document) pairs and give N numbers.
        options: See `TeacherOptions`.

    Returns:
        A new data set: the columns of ``dataset``, without its labels unless ``keep_labels`` is
        set, then float64 scores: one number per row, or one list.

    Raises:
        InputTypeError: Something else than a `datasets.Dataset`, or no teacher.
        ColumnError: Columns in none of the layouts.
        EmptyDataError: No rows.
        InputError: A cache without a key for a teacher that needs one, or other than one score
            per pair.
        ScoreError: A score that is not a finite number; scores before it are kept in the cache.
        SaveError: The cache cannot be written.
    """
    options = options or TeacherOptions()
    rows = _Rows.read(dataset)
    scored = _scores(list(dict.fromkeys(rows.pairs)), teacher, options)
    flat = [scored[pair] for pair in rows.pairs]
    if rows.sizes is None:
        column, values = options.column or "score", flat
    else:
        column = options.column or "scores"
        ends = np.cumsum(rows.sizes).tolist()
        values = [flat[e - n : e] for e, n in zip(ends, rows.sizes, strict=True)]  # type: ignore[misc]
    present = [name for name in dataset.column_names if name in LABEL_COLUMNS]
    gone = [name for name in present if not options.keep_labels or name == column]
    if column in dataset.column_names and column not in gone:
        gone.append(column)
    if gone:
        logger.info("The teacher's scores take the place of the columns %s.", gone)
    return dataset.remove_columns(gone).add_column(column, values)


@dataclass(frozen=True)
class _Rows:
    """The pairs of all rows, one after the other; ``sizes`` is None where a row is one pair."""

    pairs: list[Pair]
    sizes: list[int] | None

    @classmethod
    def read(cls, dataset: Any) -> _Rows:
        if not hasattr(dataset, "column_names") or not hasattr(dataset, "add_column"):
            raise InputTypeError(
                f"dataset is a {type(dataset).__name__}; expected a datasets.Dataset."
            )
        if not hasattr(dataset, "__len__"):
            raise InputTypeError(
                "dataset streams (IterableDataset); load it without streaming=True, or take a "
                "part: Dataset.from_list(list(dataset.take(n)))."
            )
        if len(dataset) == 0:
            raise EmptyDataError("The dataset has no rows, so there is nothing to score.")
        names = [name for name in dataset.column_names if name not in LABEL_COLUMNS]
        if len(names) < 2:
            raise ColumnError(
                f"The dataset has the columns {dataset.column_names}; expected a query and at "
                "least one document, or a list of documents."
            )
        queries = _texts(dataset[names[0]], names[0])
        if len(names) == 2 and isinstance(dataset[0][names[1]], list):
            lists = list(dataset[names[1]])
            pairs = [
                (query, document)
                for query, row in zip(queries, lists, strict=True)
                for document in _texts(row or [], names[1])
            ]
            return cls(pairs, [len(row or []) for row in lists])
        columns = [_texts(dataset[name], name) for name in names[1:]]
        rows = zip(queries, *columns, strict=True)
        pairs = [(query, document) for query, *row in rows for document in row]
        return cls(pairs, None if len(columns) == 1 else [len(columns)] * len(queries))


def _texts(values: Any, column: str) -> list[str]:
    texts = list(values)
    for text in texts:
        if not isinstance(text, str):
            raise ColumnError(
                f"expected a text, found {text!r:.60}. Take the column out with "
                "dataset.remove_columns(...), or the row if it misses its text.",
                column=column,
            )
    return texts


def _scores(pairs: list[Pair], teacher: Any, options: TeacherOptions) -> dict[Pair, float]:
    score, identity = _as_function(teacher, options)
    cache = None
    known: dict[Pair, float] = {}
    if options.cache_folder is not None:
        cache = ScoreCache(Path(options.cache_folder) / CACHE_FILE, identity())
        known = cache.get(pairs)
        logger.info("%d of %d pairs were scored before.", len(known), len(pairs))
    left = [pair for pair in pairs if pair not in known]
    # Neighbours of like length, the longest first: less padding, and a lack of memory shows soon.
    left.sort(key=lambda pair: -len(pair[0]) - len(pair[1]))
    show = bars_wanted(options.show_progress_bar, logger)
    with tqdm(total=len(left), unit="pair", desc="Teacher", disable=not show) as bar:
        for start in range(0, len(left), options.pairs_per_save):
            lot = left[start : start + options.pairs_per_save]
            fresh = list(zip(lot, _checked(score(lot), lot), strict=True))
            if cache is not None:
                cache.put(fresh)
            known.update(fresh)
            bar.update(len(lot))
    return known


def _as_function(teacher: Any, options: TeacherOptions) -> tuple[Score, Callable[[], str]]:
    """The teacher as a function of pairs, and what its scores depend on."""
    from rankwright.model import CrossEncoder

    def named() -> str:
        if options.cache_key is None:
            raise InputError(
                f"cache_folder needs a cache_key for a {type(teacher).__name__}, whose scores "
                "nothing else tells apart from another teacher's. Change it with the teacher."
            )
        return content_hash("named", options.cache_key)

    if isinstance(teacher, CrossEncoder):

        def score(pairs: list[Pair]) -> Any:
            found = teacher.score(
                pairs,
                prompt=options.prompt,
                batch_size=options.batch_size,
                show_progress_bar=False,
            )
            values = found.logits if options.raw else found.scores
            return values.reshape(len(pairs), -1)

        return score, lambda: _identity(teacher, options)
    if options.prompt is not None:
        raise InputError(
            "prompt is for a CrossEncoder of this library; put it into the texts, or give it to "
            "the teacher yourself."
        )
    predict = getattr(teacher, "predict", None)
    if callable(predict):
        return predict, named
    if callable(teacher):
        return teacher, named
    raise InputTypeError(
        f"teacher is a {type(teacher).__name__}; expected a CrossEncoder, something with predict, "
        "or a function of a list of pairs."
    )


def _identity(teacher: Any, options: TeacherOptions) -> str:
    """Changes whenever a score would: with the weights, the settings, and the prompt."""
    from rankwright.engine.adapters import adapter_configs

    weights = [
        content_hash(name, str(tensor.dtype), tuple(tensor.shape), _bytes(tensor))
        for name, tensor in sorted(teacher.model.state_dict().items())
    ]
    settings = teacher.contract.to_dict() if not options.raw else {}
    tokens = teacher.score_tokens
    prompts = {"prompts": teacher.prompts, "default": teacher.default_prompt_name}
    return content_hash(
        options.cache_key,
        weights,
        settings,
        prompts,
        teacher.max_length,
        teacher.precision,
        teacher.template,
        None if tokens is None else tokens.ids,
        teacher.active_adapters() if adapter_configs(teacher.model) else None,
        teacher.tokenizer.backend_tokenizer.to_str()
        if hasattr(teacher.tokenizer, "backend_tokenizer")
        else sorted(teacher.tokenizer.get_vocab().items()),
        options.raw,
        options.prompt,
    )


def _bytes(tensor: Any) -> Any:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""


def _checked(output: Any, pairs: Sequence[Pair]) -> list[float]:
    if hasattr(output, "detach"):
        output = output.detach().float().cpu().numpy()
    scores = np.asarray(output, dtype=np.float64)
    if scores.shape not in ((len(pairs),), (len(pairs), 1)):
        raise InputError(
            f"The teacher gave scores of shape {scores.shape} for {len(pairs)} pairs; expected "
            f"one number per pair, ({len(pairs)},). A teacher has one label."
        )
    scores = scores.reshape(-1)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, document = pairs[int(bad[0])]
        raise ScoreError(
            f"The teacher's score is {scores[bad[0]]} for {len(bad)} of {len(pairs)} pairs, first "
            f"for the query {query[:80]!r} and the document {document[:80]!r}."
        )
    found: list[float] = scores.tolist()
    return found
