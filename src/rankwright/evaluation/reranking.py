"""The evaluator for search: how well a model reorders lists of candidates."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from rankwright.errors import InputError
from rankwright.evaluation.base import ScoringEvaluator, csv_name, moment, prefixed
from rankwright.evaluation.measures import evaluate_rankings
from rankwright.evaluation.samples import RerankingSample, read_samples, samples_from_corpus
from rankwright.evaluation.scoring import score_pairs

__all__ = ["CrossEncoderRerankingEvaluator", "RerankingResult", "card_metrics", "log_table"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RerankingResult:
    """Values per sample, in the order of the samples.

    Attributes:
        reranked: Metric, such as ``"ndcg@10"`` -> one value per sample.
        base: The same for the first stage's order, one value per sample that has ``documents``;
            None if no sample has.
    """

    reranked: dict[str, list[float]]
    base: dict[str, list[float]] | None


class CrossEncoderRerankingEvaluator(ScoringEvaluator):
    """Ranks each query's documents by the model's scores and reports MAP, MRR@k and NDCG@k.

    Each sample is a dict with ``query``, ``positive`` and one of ``negative`` and ``documents``.
    ``documents`` is the first stage's list, best first; with it, the values of that order are
    reported too (``base_map`` and so on). The metrics of a call are ``map``, ``mrr@k`` and
    ``ndcg@k``, each preceded by ``{name}_``; the main one is ``ndcg@k``.

    Relevance may be graded: ``positive`` may be ``{text: grade}``, or ``relevance`` may list one
    grade per entry of ``documents`` (then ``positive`` is only needed for relevant texts that the
    first stage missed). NDCG uses the grade as gain; MAP and MRR count every grade of 1 or more.

    What holds in every case:

    - Equal scores are ranked against the model: the less relevant document comes first, for all
      metrics alike. A model that scores everything the same cannot look good.
    - A relevant document that is not ranked is missed. It counts in NDCG's ideal list and in
      MAP's denominator, for the first stage and, with ``always_rerank_positives=False``, for the
      model, so a model cannot reach 1.0 where the first stage failed. (Sentence Transformers 6.2
      scores such lists as if the missed documents did not exist.)
    - A text that occurs twice in a sample is ranked once; one that is both positive and negative
      is relevant.
    - A sample without a relevant document, or whose first stage found none of them while
      ``always_rerank_positives=False``, scores 0, counts in the means, and is not shown to the
      model. How many there are is logged.

    Args:
        samples: List of samples, or dict whose values are samples.
        at_k: Cutoff of MRR and NDCG, or several; the first one is the main metric's.
        always_rerank_positives: With ``documents``: rank all positives, found or not. That gives a
            stronger signal; False gives what the two stages achieve together.
        name: Put in front of the metrics, in the log and in the name of the CSV file.
        prompt_name: One of the model's prompts.
        batch_size: Pairs per batch.
        show_progress_bar: Whether to show one while scoring.
        write_csv: Whether a call with ``output_path`` adds a row to a CSV file there.
        mrr_at_k: A number: older name of ``at_k``. A list: cutoffs of MRR.
        ndcg_at_k: Cutoffs of NDCG if not ``at_k``; the first one is the main metric.
        accuracy_at_k: Cutoffs of ``accuracy@k``, the share of queries with a relevant document
            among the first k.
        recall_at_k: Cutoffs of ``recall@k``, the share of a query's relevant documents that are
            among the first k.
        precision_at_k: Cutoffs of ``precision@k``, the share of the first k that is relevant.
        queries: Instead of ``samples``, with ``relevant_docs`` and ``corpus``: query id -> text.
            Every query is then ranked against the whole corpus, which takes
            ``len(queries) * len(corpus)`` pairs.
        relevant_docs: Query id -> ids of relevant documents, or id -> grade.
        corpus: Document id -> text.

    Raises:
        EmptyDataError: No sample, or none with a relevant document.
        ColumnError, InputTypeError, LabelError: A malformed sample; the message names it.
        InputError: A cutoff below 1, or arguments that exclude each other.
        ScoreError: On a call: the model gave NaN or infinity; the message names the pair.
    """

    def __init__(
        self,
        samples: Iterable[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]] | None = None,
        at_k: int | Sequence[int] = 10,
        always_rerank_positives: bool = True,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        mrr_at_k: int | Sequence[int] | None = None,
        *,
        ndcg_at_k: int | Sequence[int] | None = None,
        accuracy_at_k: int | Sequence[int] | None = None,
        recall_at_k: int | Sequence[int] | None = None,
        precision_at_k: int | Sequence[int] | None = None,
        queries: Mapping[str, str] | None = None,
        relevant_docs: Mapping[str, Any] | None = None,
        corpus: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, prompt_name, batch_size, show_progress_bar, write_csv)
        if samples is None:
            if queries is None or relevant_docs is None or corpus is None:
                raise InputError("Give samples, or all of queries, relevant_docs and corpus.")
            samples = samples_from_corpus(queries, relevant_docs, corpus)
        elif not (queries is None and relevant_docs is None and corpus is None):
            raise InputError("Give either samples or queries, relevant_docs and corpus, not both.")
        if isinstance(mrr_at_k, int):
            logger.warning("mrr_at_k is the older name of at_k; use at_k=%d.", mrr_at_k)
            at_k, mrr_at_k = mrr_at_k, None
        self.samples = list(samples.values() if isinstance(samples, Mapping) else samples)
        self._samples = read_samples(self.samples)
        self.always_rerank_positives = always_rerank_positives

        default = _cutoffs(at_k, ())
        mrr, ndcg = _cutoffs(mrr_at_k, default), _cutoffs(ndcg_at_k, default)
        if not ndcg:
            raise InputError("at_k is empty; NDCG needs a cutoff, such as at_k=10.")
        self.at_k = ndcg[0]
        # Metric -> (its label in the log and the CSV file, its name in ir-measures).
        self._metrics = {
            "map": ("MAP", "AP"),
            **{f"mrr@{k}": (f"MRR@{k}", f"RR@{k}") for k in mrr},
            **{f"ndcg@{k}": (f"NDCG@{k}", f"nDCG@{k}") for k in ndcg},
            **_at("accuracy", "Success", accuracy_at_k),
            **_at("recall", "R", recall_at_k),
            **_at("precision", "P", precision_at_k),
        }
        self.primary_metric = f"{name}_ndcg@{self.at_k}" if name else f"ndcg@{self.at_k}"
        self.csv_file = csv_name("CrossEncoderRerankingEvaluator", name, f"results_@{self.at_k}")
        self.csv_headers = ["epoch", "steps", *(label for label, _ in self._metrics.values())]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metric -> value; with ``output_path``, adds a row to :attr:`csv_file` there."""
        logger.info(
            "CrossEncoderRerankingEvaluator: Evaluating the model on the %s dataset%s:",
            self.name,
            moment(epoch, steps),
        )
        result = self.evaluate(model)
        values = {key: _mean(result.reranked[key]) for key in self._metrics}
        base = None if result.base is None else {k: _mean(v) for k, v in result.base.items()}
        self._report(values, base)
        self._add_row(output_path, epoch, steps, values.values())
        card = card_metrics(values, base, self.name)
        self.store_metrics_in_model_card_data(model, card, epoch, steps)
        if base is not None:
            values |= {f"base_{key}": value for key, value in base.items()}
        return prefixed(values, self.name)

    def evaluate(self, model: Any) -> RerankingResult:
        """The values of every single sample, for significance tests and for looking at failures.

        Raises:
            ScoreError: The model gave NaN or infinity for a pair.
        """
        lists = [s.candidates(self.always_rerank_positives) for s in self._samples]
        # Where no relevant document can be ranked the value is 0 without asking the model.
        lists = [
            texts if any(text in sample.grades for text in texts) else []
            for sample, texts in zip(self._samples, lists, strict=True)
        ]
        pairs = [
            (sample.query, text)
            for sample, texts in zip(self._samples, lists, strict=True)
            for text in texts
        ]
        scores = score_pairs(
            model,
            pairs,
            lambda i: f"query '{pairs[i][0][:80]}' and document '{pairs[i][1][:80]}'",
            **self._scoring(),
        )
        ends = list(accumulate(map(len, lists)))
        rankings = [
            _pessimistic(texts, scores[end - len(texts) : end], sample.grades)
            for sample, texts, end in zip(self._samples, lists, ends, strict=True)
        ]
        with_base = [sample for sample in self._samples if sample.ranked is not None]
        return RerankingResult(
            reranked=self._measure(self._samples, rankings),
            base=self._measure(with_base, [sample.ranked or [] for sample in with_base])
            if with_base
            else None,
        )

    @property
    def labels(self) -> dict[str, str]:
        """Metric, such as ``ndcg@10`` -> what it is called in the log and the CSV file."""
        return {key: label for key, (label, _) in self._metrics.items()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings worth mentioning in a model card."""
        config: dict[str, Any] = {"at_k": self.at_k}
        if any(sample.ranked is not None for sample in self._samples):
            config["always_rerank_positives"] = self.always_rerank_positives
        return config

    def _measure(
        self, samples: Sequence[RerankingSample], rankings: Sequence[Sequence[str]]
    ) -> dict[str, list[float]]:
        """Metric -> value of each sample; 0 for those without a relevant document."""
        if not any(sample.grades for sample in samples):
            return {key: [0.0] * len(samples) for key in self._metrics}
        qrels: dict[str, dict[str, int]] = {}
        numbered: dict[str, list[str]] = {}
        for i, (sample, ranking) in enumerate(zip(samples, rankings, strict=True)):
            # Short ids instead of texts: the backend need not cope with whatever a text holds.
            ids = {
                text: str(n) for n, text in enumerate({**sample.grades, **dict.fromkeys(ranking)})
            }
            qrels[str(i)] = {ids[text]: grade for text, grade in sample.grades.items()}
            numbered[str(i)] = [ids[text] for text in ranking]
        names = [measure for _, measure in self._metrics.values()]
        found = evaluate_rankings(qrels, numbered, names).per_query
        return {
            key: [found[measure].get(str(i), 0.0) for i in range(len(samples))]
            for key, (_, measure) in self._metrics.items()
        }

    def _report(self, values: Mapping[str, float], base: Mapping[str, float] | None) -> None:
        candidates = [s.candidates(self.always_rerank_positives) for s in self._samples]
        positives = [len(sample.grades) for sample in self._samples]
        negatives = [
            sum(text not in sample.grades for text in texts)
            for sample, texts in zip(self._samples, candidates, strict=True)
        ]
        without = positives.count(0)
        if without:
            logger.warning("%d samples have no relevant document; each scores 0.", without)
        logger.info(
            "Queries: %d\tPositives: %s\tNegatives: %s",
            len(self._samples),
            _spread(positives),
            _spread(negatives),
        )
        log_table(self.labels, values, base)


def log_table(
    labels: Mapping[str, str], values: Mapping[str, float], base: Mapping[str, float] | None
) -> None:
    """One line per metric into the log, in per cent, the first stage's value before the model's."""
    width = max(map(len, labels.values())) + 2
    if base is not None:
        logger.info("%sBase  -> Reranked", " " * width)
    for key, label in labels.items():
        before = "" if base is None else f"{base[key] * 100:.2f} -> "
        logger.info("%s%s%.2f", f"{label}:".ljust(width), before, values[key] * 100)


def card_metrics(
    values: Mapping[str, float], base: Mapping[str, float] | None, name: str
) -> dict[str, Any]:
    """For a model card: with a first stage it also shows by how much the model changes it."""
    start = f"{name}_" if name else ""
    return {
        f"{start}{key}": value if base is None else f"{value:.4f} ({value - base[key]:+.4f})"
        for key, value in values.items()
    }


def _pessimistic(
    texts: Sequence[str], scores: npt.NDArray[np.float64], grades: Mapping[str, int]
) -> list[str]:
    """Best first; among equal scores the less relevant first."""
    relevance = np.array([grades.get(text, 0) for text in texts], dtype=np.int64)
    return [texts[i] for i in np.lexsort((relevance, -scores))]


def _cutoffs(given: int | Sequence[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    cutoffs = default if given is None else (given,) if isinstance(given, int) else tuple(given)
    for k in cutoffs:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"A cutoff is {k!r}; it must be a whole number of 1 or more.")
    return cutoffs or default


def _at(metric: str, measure: str, given: int | Sequence[int] | None) -> dict[str, tuple[str, str]]:
    """Entries of a metric that is only computed where cutoffs are given."""
    cutoffs = _cutoffs(given, ())
    return {f"{metric}@{k}": (f"{metric.title()}@{k}", f"{measure}@{k}") for k in cutoffs}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _spread(counts: Sequence[int]) -> str:
    return f"Min {min(counts):.1f}, Mean {_mean(counts):.1f}, Max {max(counts):.1f}"
