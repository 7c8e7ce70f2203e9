"""The evaluator for pairs with classes: duplicates, entailment, answers or not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankwright.errors import EmptyDataError, InputError, LabelError, MissingDependencyError
from rankwright.evaluation.base import ScoringEvaluator, csv_name, moment, prefixed
from rankwright.evaluation.scoring import predict_pairs

__all__ = ["CrossEncoderClassificationEvaluator", "best_accuracy", "best_f1"]

logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

_BINARY = {
    "accuracy": "Accuracy",
    "accuracy_threshold": "Accuracy_Threshold",
    "f1": "F1",
    "f1_threshold": "F1_Threshold",
    "precision": "Precision",
    "recall": "Recall",
    "average_precision": "Average_Precision",
}
_MULTI = {"f1_macro": "Macro_F1", "f1_micro": "Micro_F1", "f1_weighted": "Weighted_F1"}


class CrossEncoderClassificationEvaluator(ScoringEvaluator):
    """Compares predicted classes with given ones.

    For a model with one label the pairs are of two classes, 0 and 1, and the metrics are
    ``accuracy`` and ``f1`` at the thresholds that are best for each on these pairs (a pair is
    positive if its score is at least the threshold), ``precision`` and ``recall`` at the threshold
    of ``f1``, and ``average_precision``, the main one. The thresholds are fitted to the very pairs
    they are judged on, so accuracy and F1 flatter a little; average precision does not.
    For a model with several labels: ``f1_macro`` (main), ``f1_micro`` and ``f1_weighted`` of the
    class with the highest score; of equal scores the lowest class is taken. ``f1_micro`` is the
    accuracy.

    Args:
        sentence_pairs: Pairs of texts.
        labels: The class of each pair, a whole number.
        name: Put in front of the metrics, in the log and in the name of the CSV file.
        prompt_name: One of the model's prompts.
        batch_size: Pairs per batch.
        show_progress_bar: None shows one when logging is at INFO or lower.
        write_csv: Whether a call with ``output_path`` adds a row to a CSV file there.
        **ignored: Other arguments, which programs for Sentence Transformers may pass, have no
            effect; a warning is logged.

    Raises:
        EmptyDataError: There are no pairs.
        InputError: Not as many labels as pairs.
        LabelError: On a call: a label that the model cannot predict, or no positive pair.
        ScoreError: On a call: the model gave NaN or infinity.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        labels: Sequence[int],
        *,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
        **ignored: Any,
    ) -> None:
        super().__init__(name, prompt_name, batch_size, show_progress_bar, write_csv)
        if ignored:
            logger.warning(
                "%s takes no %s; ignored, as in Sentence Transformers.",
                type(self).__name__,
                ", ".join(ignored),
            )
        self.sentence_pairs = checked_pairs(sentence_pairs, len(labels), "labels")
        self.labels = np.asarray(labels)
        self.csv_file = csv_name("CrossEncoderClassificationEvaluator", name, "results")
        self.csv_headers: list[str] = []
        self._set_metrics(_MULTI if len(np.unique(self.labels)) > 2 else _BINARY)

    def _set_metrics(self, columns: dict[str, str]) -> None:
        """Which metrics there are depends on the model; until one is seen, on the labels."""
        main = "f1_macro" if columns is _MULTI else "average_precision"
        self.primary_metric = f"{self.name}_{main}" if self.name else main
        self.csv_headers = ["epoch", "steps", *columns.values()]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metric -> value; with ``output_path``, adds a row to :attr:`csv_file` there."""
        logger.info(
            "CrossEncoderClassificationEvaluator: Evaluating the model on %s dataset%s:",
            self.name,
            moment(epoch, steps),
        )
        scores = predict_pairs(
            model,
            self.sentence_pairs,
            lambda i: f"pair {i}",
            **self._scoring(),
        )
        if scores.ndim == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        labels = self._checked_labels(2 if scores.ndim == 1 else scores.shape[1])
        if scores.ndim == 1:
            self._set_metrics(_BINARY)
            metrics = _binary_metrics(scores, labels)
        else:
            self._set_metrics(_MULTI)
            metrics = _multi_metrics(scores, labels)
        self._add_row(output_path, epoch, steps, metrics.values())
        named = prefixed(metrics | self._more(scores, labels), self.name)
        self.store_metrics_in_model_card_data(model, named, epoch, steps)
        return named

    def _more(self, scores: _Array, labels: _Array) -> dict[str, float]:
        """Metrics of a subclass that are not in the CSV file."""
        return {}

    def _checked_labels(self, classes: int) -> _Array:
        known = np.isin(self.labels, np.arange(classes))
        if not known.all():
            first = int(np.argmin(known))
            raise LabelError(
                f"Pair {first} has label {self.labels[first]}, but the model tells {classes} "
                f"classes apart: 0 to {classes - 1}."
            )
        return self.labels.astype(np.int64)


def checked_pairs(
    pairs: Sequence[Sequence[str]], targets: int, argument: str
) -> list[tuple[str, str]]:
    """The pairs as tuples, as many as there are targets and at least one."""
    if len(pairs) != targets:
        raise InputError(
            f"{len(pairs)} sentence_pairs but {targets} {argument}; every pair needs one."
        )
    if not targets:
        raise EmptyDataError("sentence_pairs is empty; there is nothing to evaluate.")
    checked: list[tuple[str, str]] = []
    for i, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"sentence_pairs[{i}] is {pair!r}; expected two texts.")
        checked.append((pair[0], pair[1]))
    return checked


def best_accuracy(scores: _Array, labels: _Array) -> tuple[float, float]:
    """The highest accuracy that a threshold on the scores reaches, and the highest such threshold.

    Args:
        scores: Shape (n,); a pair counts as positive if its score is at least the threshold.
        labels: Shape (n,), 0 or 1.
    """
    ends, found, thresholds = _cuts(scores, labels)
    negatives = int(np.count_nonzero(labels == 0))
    right = np.concatenate([[negatives], found + negatives - (ends + 1 - found)])
    # Above every score, so that "all negative" is among the choices.
    above = np.nextafter(scores.max(), scores.dtype.type(np.inf))
    best = int(np.argmax(right))
    return float(right[best] / len(labels)), float(above if best == 0 else thresholds[best - 1])


def best_f1(scores: _Array, labels: _Array) -> tuple[float, float, float, float]:
    """The highest F1 that a threshold reaches, its precision and recall, and that threshold."""
    ends, found, thresholds = _cuts(scores, labels)
    precision, recall = found / (ends + 1), found / labels.sum()
    f1 = np.divide(
        2 * precision * recall, precision + recall, out=np.zeros(len(ends)), where=found > 0
    )
    best = int(np.argmax(f1))
    return float(f1[best]), float(precision[best]), float(recall[best]), float(thresholds[best])


def _cuts(scores: _Array, labels: _Array) -> tuple[_Array, _Array, _Array]:
    """Every place where a threshold can cut the falling scores without parting equal ones.

    Returns:
        Index of the last pair above each cut, positives up to there, and the threshold: halfway
        to the next score, or that last score where halfway rounds down to the next one.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.append(np.flatnonzero(falling[:-1] != falling[1:]), len(falling) - 1)
    last, following = falling[ends], falling[np.minimum(ends + 1, len(falling) - 1)]
    halfway = last / 2 + following / 2
    thresholds = np.where((halfway > following) & (halfway <= last), halfway, last)
    return ends, np.cumsum(labels[order])[ends], thresholds


def _binary_metrics(scores: _Array, labels: _Array) -> dict[str, float]:
    metrics = _sklearn_metrics()
    if not labels.any():
        raise LabelError("No pair has label 1, so F1 and average precision are undefined.")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    accuracy, accuracy_threshold = best_accuracy(scores, labels)
    f1, precision, recall, f1_threshold = best_f1(scores, labels)
    average_precision = float(metrics.average_precision_score(labels, scores))
    logger.info("Accuracy:          %.2f\t(Threshold: %.4f)", accuracy * 100, accuracy_threshold)
    logger.info("F1:                %.2f\t(Threshold: %.4f)", f1 * 100, f1_threshold)
    logger.info("Precision:         %.2f", precision * 100)
    logger.info("Recall:            %.2f", recall * 100)
    logger.info("Average Precision: %.2f", average_precision * 100)
    values = (accuracy, accuracy_threshold, f1, f1_threshold, precision, recall, average_precision)
    return dict(zip(_BINARY, values, strict=True))


def _multi_metrics(scores: _Array, labels: _Array) -> dict[str, float]:
    f1_score = _sklearn_metrics().f1_score
    predicted = scores.argmax(axis=1)
    metrics = {
        f"f1_{average}": float(f1_score(labels, predicted, average=average))
        for average in ("macro", "micro", "weighted")
    }
    logger.info("Macro F1:           %.2f", metrics["f1_macro"] * 100)
    logger.info("Micro F1:           %.2f", metrics["f1_micro"] * 100)
    logger.info("Weighted F1:        %.2f", metrics["f1_weighted"] * 100)
    return metrics


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "scikit-learn", "train", "CrossEncoderClassificationEvaluator"
        ) from error
    return metrics
