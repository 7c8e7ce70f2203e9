"""What every evaluator has in common: its name, its main metric and its CSV file."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rankwright.errors import FormatError, InputError, SaveError
from rankwright.evaluation.shared import is_first_process

__all__ = [
    "BaseEvaluator",
    "ScoringEvaluator",
    "SentenceEvaluator",
    "SequentialEvaluator",
    "append_csv_row",
    "csv_name",
    "main_score",
    "moment",
    "prefixed",
]

logger = logging.getLogger(__name__)


def prefixed(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """The metrics as floats, each key preceded by ``{name}_`` unless the name is empty."""
    start = f"{name}_" if name else ""
    return {f"{start}{key}": float(value) for key, value in metrics.items()}


def moment(epoch: int, steps: int) -> str:
    """When in training this is, for the log: empty outside training."""
    if epoch == -1:
        return ""
    return f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"


def csv_name(kind: str, name: str, rest: str) -> str:
    """File name of an evaluator's CSV; a name such as ``org/data`` must not become a folder."""
    safe = re.sub(r'[/\\:*?"<>|]', "_", name)
    return "_".join(part for part in (kind, safe, rest) if part) + ".csv"


def append_csv_row(path: str | Path, header: Sequence[str], row: Sequence[Any]) -> None:
    """Adds one row to a CSV file, with the header first if the file is new.

    The file is replaced in one go, so that an interrupted run leaves either the old or the new
    one. Of several processes only the first one writes.

    Raises:
        FormatError: The file has another header; its rows would not fit under one.
        SaveError: The folder cannot be written to.
    """
    if not is_first_process():
        return
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        text = ""
        if target.exists():
            with target.open(newline="", encoding="utf-8") as file:
                text = file.read()
        found = next(csv.reader(io.StringIO(text)), None)
        if found is not None and found != list(header):
            raise FormatError(
                f"the header is {','.join(found)}, but the row to add is {','.join(header)}. "
                "Move the file away, or write to another folder.",
                path=target,
                line=1,
            )
        buffer = io.StringIO()
        buffer.write(text if not text or text.endswith("\n") else text + "\r\n")
        csv.writer(buffer).writerows([row] if found is not None else [header, row])
        _replace(target, buffer.getvalue())
    except OSError as error:
        raise SaveError(f"Cannot add a row to {target}: {error}") from error


def _replace(target: Path, text: str) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


class BaseEvaluator:
    """Base of all evaluators; a subclass implements :meth:`__call__`.

    Attributes:
        greater_is_better: Whether a higher main metric is a better model; used to pick the best
            checkpoint.
        primary_metric: Key of the main metric in what a call returns. The evaluators here set it,
            with the name in front, when they are constructed.
    """

    greater_is_better: bool
    primary_metric: str | None

    def __init__(self) -> None:
        self.greater_is_better = True
        self.primary_metric = None

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> float | dict[str, float]:
        """Judges the model.

        Args:
            model: The model to judge.
            output_path: Folder for CSV files; None writes none.
            epoch: The epoch of training, or -1 outside training.
            steps: The step of training, or -1 at the end of an epoch.

        Returns:
            Metric -> value, or a single value.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement __call__.")

    def prefix_name_to_metrics(self, metrics: Mapping[str, float], name: str) -> dict[str, float]:
        """See :func:`prefixed`. Unlike its namesake elsewhere it does not rename
        ``primary_metric``; :func:`main_score` finds the metric with or without the prefix."""
        return prefixed(metrics, name)

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: Mapping[str, Any], epoch: int = 0, step: int = 0
    ) -> None:
        """Hands the metrics to the model's card, if the model has one that takes them."""
        card = getattr(model, "model_card_data", None)
        store = getattr(card, "set_evaluation_metrics", None)
        if callable(store):
            store(self, dict(metrics), epoch, step)

    @property
    def description(self) -> str:
        """The class name in words, without "Evaluator"."""
        words = type(self).__name__.partition("Evaluator")[0]
        words = re.sub(r"^CE(?=[A-Z])", "CrossEncoder", words)
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings worth mentioning in a model card."""
        return {}


SentenceEvaluator = BaseEvaluator
"""Older name of :class:`BaseEvaluator`."""


def main_score(evaluator: Any, result: float | Mapping[str, float]) -> float:
    """The one number of an evaluator's result.

    That is the result itself if it is a number, else its ``primary_metric``, with or without the
    evaluator's name in front, else (no ``primary_metric``) its first entry.

    Raises:
        InputError: The primary metric is not in the result, or the result is empty, or it is
            neither a number nor a mapping.
    """
    if not isinstance(result, Mapping):
        return _number(evaluator, result)
    primary = getattr(evaluator, "primary_metric", None)
    name = getattr(evaluator, "name", "")
    keys = [primary, f"{name}_{primary}"] if primary is not None else list(result)[:1]
    for key in keys:
        if key in result:
            return float(result[key])
    raise InputError(
        f"{type(evaluator).__name__} has the primary_metric {primary!r}, which is not among its "
        f"results: {', '.join(result) or 'none'}. Set primary_metric to one of them."
    )


def _number(evaluator: Any, result: Any) -> float:
    try:
        return float(result)
    except (TypeError, ValueError):
        name = getattr(evaluator, "__name__", type(evaluator).__name__)
        raise InputError(
            f"The evaluator {name} returned {result!r}; expected a number, or a dict of metric -> "
            "number."
        ) from None


def _last(scores: Sequence[float]) -> float:
    return scores[-1]


class ScoringEvaluator(BaseEvaluator):
    """Base of the evaluators that let a model score pairs and keep a CSV file of the results.

    Args:
        name: Put in front of the metrics, in the log and in the name of the CSV file.
        prompt_name: One of the model's prompts.
        batch_size: Pairs per batch.
        show_progress_bar: Whether to show one while scoring; None leaves it to the log's level.
        write_csv: Whether a call with ``output_path`` adds a row to a CSV file there.

    Attributes:
        csv_file: Name of the CSV file.
        csv_headers: Its columns: ``epoch``, ``steps`` and the metrics.
    """

    csv_file: str
    csv_headers: list[str]

    def __init__(
        self,
        name: str,
        prompt_name: str | None,
        batch_size: int,
        show_progress_bar: bool | None,
        write_csv: bool,
    ) -> None:
        super().__init__()
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv

    def _scoring(self) -> dict[str, Any]:
        """The settings that go with every scoring."""
        return {
            "batch_size": self.batch_size,
            "show_progress_bar": self.show_progress_bar,
            "prompt_name": self.prompt_name,
        }

    def _add_row(
        self, output_path: str | None, epoch: int, steps: int, values: Iterable[float]
    ) -> None:
        """Adds a row to the CSV file in ``output_path``, if there is to be one."""
        if output_path is not None and self.write_csv:
            path = os.path.join(output_path, self.csv_file)
            append_csv_row(path, self.csv_headers, [epoch, steps, *values])


class SequentialEvaluator(BaseEvaluator):
    """Runs several evaluators one after another and joins their results.

    The result has all their metrics, and ``sequential_score``, which is the main metric. If two
    evaluators return the same key, the later value is kept and a warning is logged: give each a
    ``name``.

    Args:
        evaluators: The evaluators, at least one: objects or functions that are called as
            ``evaluator(model, output_path, epoch, steps)`` and return a number or a dict.
        main_score_function: Makes one number of the list of their main metrics; takes the last
            unless told otherwise.

    Raises:
        InputError: There are no evaluators.
    """

    def __init__(
        self,
        evaluators: Iterable[BaseEvaluator | Callable[..., Any]],
        main_score_function: Callable[[list[float]], float] = _last,
    ) -> None:
        super().__init__()
        self.evaluators = list(evaluators)
        if not self.evaluators:
            raise InputError("SequentialEvaluator needs at least one evaluator.")
        self.main_score_function = main_score_function
        self.primary_metric = "sequential_score"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        scores: list[float] = []
        joined: dict[str, float] = {}
        for i, evaluator in enumerate(self.evaluators):
            result = evaluator(model, output_path, epoch, steps)
            scores.append(main_score(evaluator, result))
            metrics = dict(result) if isinstance(result, Mapping) else {f"evaluator_{i}": scores[i]}
            for key in metrics.keys() & joined.keys():
                logger.warning(
                    "Evaluator %d (%s) returns '%s', as an earlier one does; the later value is "
                    "kept. Give each evaluator a name of its own.",
                    i,
                    type(evaluator).__name__,
                    key,
                )
            joined.update(metrics)
        joined["sequential_score"] = float(self.main_score_function(scores))
        return joined
