"""The evaluator for pairs with graded similarity."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rankwright.errors import LabelError, MissingDependencyError
from rankwright.evaluation.base import ScoringEvaluator, csv_name, moment, prefixed
from rankwright.evaluation.classification import checked_pairs
from rankwright.evaluation.scoring import score_pairs

__all__ = ["CrossEncoderCorrelationEvaluator"]

logger = logging.getLogger(__name__)


class CrossEncoderCorrelationEvaluator(ScoringEvaluator):
    """Pearson's and Spearman's correlation of predicted with given scores; Spearman's is the main.

    A model that gives every pair the same score has no correlation; it is reported as 0, with a
    warning, so that it can never be picked as the best.

    Args:
        sentence_pairs: Pairs of texts, at least two.
        scores: The right score of each pair.
        name: Put in front of the metrics, in the log and in the name of the CSV file.
        prompt_name: One of the model's prompts.
        batch_size: Pairs per batch.
        show_progress_bar: None shows one when logging is at INFO or lower.
        write_csv: Whether a call with ``output_path`` adds a row to a CSV file there.

    Raises:
        EmptyDataError: There are no pairs.
        InputError: Not as many scores as pairs.
        LabelError: The given scores are all equal or not finite.
        ScoreError: On a call: the model gave NaN or infinity.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        scores: Sequence[float],
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__(name, prompt_name, batch_size, show_progress_bar, write_csv)
        self.sentence_pairs = checked_pairs(sentence_pairs, len(scores), "scores")
        self.scores = scores
        self._gold = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(self._gold).all():
            first = int(np.argmin(np.isfinite(self._gold)))
            raise LabelError(f"scores[{first}] is {self._gold[first]}; expected a finite number.")
        if self._gold.min() == self._gold.max():
            raise LabelError(
                f"All {len(scores)} given scores are {self._gold[0]}; a correlation needs at least "
                "two different ones."
            )
        self.csv_file = csv_name("CrossEncoderCorrelationEvaluator", name, "results")
        self.csv_headers = ["epoch", "steps", "Pearson_Correlation", "Spearman_Correlation"]
        self.primary_metric = f"{name}_spearman" if name else "spearman"

    @classmethod
    def from_input_examples(
        cls, examples: Iterable[Any], **options: Any
    ) -> CrossEncoderCorrelationEvaluator:
        """From objects with ``texts`` (two of them) and ``label``, such as ``InputExample``."""
        examples = list(examples)
        return cls([e.texts for e in examples], [e.label for e in examples], **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metric -> value; with ``output_path``, adds a row to :attr:`csv_file` there."""
        try:
            from scipy.stats import pearsonr, spearmanr
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "scipy", "train", "CrossEncoderCorrelationEvaluator"
            ) from error
        logger.info(
            "CrossEncoderCorrelationEvaluator: Evaluating the model on %s dataset%s:",
            self.name,
            moment(epoch, steps),
        )
        predicted = score_pairs(
            model,
            self.sentence_pairs,
            lambda i: f"pair {i}",
            **self._scoring(),
        )
        if predicted.min() == predicted.max():
            logger.warning(
                "The model scores all %d pairs %s; the correlations are undefined and reported as "
                "0.",
                len(predicted),
                predicted[0],
            )
            pearson = spearman = 0.0
        else:
            pearson = float(pearsonr(self._gold, predicted).statistic)
            spearman = float(spearmanr(self._gold, predicted).statistic)
        logger.info("Correlation:\tPearson: %.4f\tSpearman: %.4f", pearson, spearman)
        self._add_row(output_path, epoch, steps, [pearson, spearman])
        metrics = prefixed({"pearson": pearson, "spearman": spearman}, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics
