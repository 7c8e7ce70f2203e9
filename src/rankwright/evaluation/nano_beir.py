"""The evaluator for NanoBEIR: thirteen small search tasks of very different kinds.

BEIR: Thakur et al., 2021, arXiv:2104.08663. NanoBEIR cuts each of its data sets down to 50
queries and a few thousand documents, so that a reranker can be judged on all of them in minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rankwright.errors import EmptyDataError, InputError, UnknownIdError
from rankwright.evaluation.base import ScoringEvaluator, csv_name, moment, prefixed
from rankwright.evaluation.nano_beir_data import NanoSubsets, read_subsets
from rankwright.evaluation.reranking import CrossEncoderRerankingEvaluator, card_metrics, log_table

__all__ = ["DATASETS", "CrossEncoderNanoBEIREvaluator", "reranking_samples"]

logger = logging.getLogger(__name__)

DATASETS = {
    "climatefever": "ClimateFEVER",
    "dbpedia": "DBPedia",
    "fever": "FEVER",
    "fiqa2018": "FiQA2018",
    "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "quoraretrieval": "QuoraRetrieval",
    "scidocs": "SCIDOCS",
    "arguana": "ArguAna",
    "scifact": "SciFact",
    "touche2020": "Touche2020",
}
"""Short name -> name as in the splits, ``Nano{name}``, and in the metrics."""

# They ask for counter-arguments, not for answers: what is similar is not what is right.
_NOT_BY_DEFAULT = ("arguana", "touche2020")


class CrossEncoderNanoBEIREvaluator(ScoringEvaluator):
    """Reranks BM25's lists of the NanoBEIR data sets and reports MAP, MRR@k and NDCG@k.

    Each data set is judged by a `CrossEncoderRerankingEvaluator`, whose rules on ties, missed
    documents and duplicates hold here too. The metrics of a call are, for every data set,
    ``NanoMSMARCO_R100_map``, ``..._mrr@10``, ``..._ndcg@10`` and the first stage's values
    ``..._base_map`` and so on, and the same put together over the data sets,
    ``NanoBEIR_R100_mean_ndcg@10``, where 100 is ``rerank_k``, ``mean`` is ``aggregate_key`` and
    10 is ``at_k``. The main metric is ``NanoBEIR_R100_mean_ndcg@10``.

    Args:
        dataset_names: Some of `DATASETS`, such as ``["msmarco", "nq"]``, in any case; None takes
            all but ``arguana`` and ``touche2020``.
        dataset_id: A data set of the hub, or a local folder in the same layout: the subsets
            ``corpus`` and ``queries`` (columns ``_id``, ``text``), ``qrels`` (``query-id``,
            ``corpus-id``, perhaps ``score``) and ``bm25`` (``query-id``, ``corpus-ids``, best
            first), each with one split per data set, called ``NanoMSMARCO`` and so on. Names of
            translations, such as ``"Serbian-AI-Society/NanoBEIR-sr"``, judge other languages. A
            local folder may simply hold ``corpus/NanoMSMARCO.jsonl`` or ``.parquet``.
        rerank_k: How many of BM25's documents are reranked.
        at_k: Cutoff of MRR and NDCG, or several; the first one is the main metric's.
        always_rerank_positives: Whether relevant documents that BM25 missed are ranked too.
        prompt_name: One of the model's prompts.
        batch_size: Pairs per batch.
        show_progress_bar: Whether to show one while scoring.
        write_csv: Whether a call with ``output_path`` adds a row to CSV files there, one per data
            set and ``NanoBEIR_evaluation_{aggregate_key}_results.csv``.
        aggregate_fn: Makes one value of the data sets' values.
        aggregate_key: What it is called in the metrics.
        revision: Commit, branch or tag of the data set on the hub.

    Raises:
        InputError: An unknown data set name or none at all, ``rerank_k`` below 1, or a subset or
            split that the data set does not have.
        DataNotFoundError: The data set is neither here nor on the hub.
        ColumnError: A subset lacks a column.
        UnknownIdError: An id in ``qrels`` or ``bm25`` that ``queries`` or ``corpus`` lacks.
        MissingDependencyError: ``datasets`` is not installed.
    """

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = "sentence-transformers/NanoBEIR-en",
        rerank_k: int = 100,
        at_k: int | Sequence[int] = 10,
        always_rerank_positives: bool = True,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        aggregate_fn: Callable[[list[float]], float] = np.mean,
        aggregate_key: str = "mean",
        *,
        revision: str | None = None,
    ) -> None:
        name = f"NanoBEIR_R{rerank_k}_{aggregate_key}"
        super().__init__(name, prompt_name, batch_size, show_progress_bar, write_csv)
        self.dataset_names = _checked_names(dataset_names)
        if isinstance(rerank_k, bool) or not isinstance(rerank_k, int) or rerank_k < 1:
            raise InputError(f"rerank_k is {rerank_k!r}; it must be a whole number of 1 or more.")
        self.dataset_id = str(dataset_id)
        self.rerank_k = rerank_k
        self.always_rerank_positives = always_rerank_positives
        self.aggregate_fn = aggregate_fn
        self.aggregate_key = aggregate_key
        self.evaluators = [
            CrossEncoderRerankingEvaluator(
                self._read(DATASETS[name.lower()], revision),
                at_k=at_k,
                always_rerank_positives=always_rerank_positives,
                name=f"Nano{DATASETS[name.lower()]}_R{rerank_k}",
                write_csv=write_csv,
                **self._scoring(),
            )
            for name in self.dataset_names
        ]
        self.at_k = self.evaluators[0].at_k
        self.labels = self.evaluators[0].labels
        self.primary_metric = f"{self.name}_ndcg@{self.at_k}"
        self.csv_file = csv_name("NanoBEIR_evaluation", aggregate_key, "results")
        self.csv_headers = ["epoch", "steps", *self.labels.values()]

    def _read(self, dataset: str, revision: str | None) -> list[dict[str, Any]]:
        subsets = read_subsets(self.dataset_id, f"Nano{dataset}", revision)
        return reranking_samples(subsets, self.rerank_k)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Metric -> value; with ``output_path``, adds a row to the CSV files there."""
        logger.info(
            "NanoBEIR Evaluation of the model on %s dataset%s:",
            self.dataset_names,
            moment(epoch, steps),
        )
        found: dict[str, float] = {}
        by_metric: dict[str, list[float]] = {}
        for evaluator in self.evaluators:
            logger.info("Evaluating %s", evaluator.name)
            metrics = evaluator(model, output_path, epoch, steps)
            found |= metrics
            for key, value in metrics.items():
                by_metric.setdefault(key.removeprefix(f"{evaluator.name}_"), []).append(value)
            logger.info("")
        together = {key: float(self.aggregate_fn(values)) for key, values in by_metric.items()}
        values = {key: together[key] for key in self.labels}
        base = {key: together[f"base_{key}"] for key in self.labels}
        self._add_row(output_path, epoch, steps, values.values())
        logger.info("CrossEncoderNanoBEIREvaluator: Aggregated Results:")
        log_table(self.labels, values, base)
        card = card_metrics(values, base, self.name)
        self.store_metrics_in_model_card_data(model, card, epoch, steps)
        return found | prefixed(together, self.name)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings worth mentioning in a model card."""
        return {
            "dataset_names": self.dataset_names,
            "dataset_id": self.dataset_id,
            "rerank_k": self.rerank_k,
            "at_k": self.at_k,
            "always_rerank_positives": self.always_rerank_positives,
        }


def reranking_samples(subsets: NanoSubsets, rerank_k: int) -> list[dict[str, Any]]:
    """Samples for `CrossEncoderRerankingEvaluator`, one per judged query, in BM25's order.

    Args:
        subsets: One data set.
        rerank_k: How many of BM25's documents a sample has at most.

    Raises:
        UnknownIdError: An id that stands for no text.
        EmptyDataError: No query is judged.
    """
    split = subsets.split
    unjudged = [query_id for query_id in subsets.bm25 if query_id not in subsets.qrels]
    if unjudged:
        logger.warning(
            "%s: %d queries of 'bm25' are not in 'qrels', such as '%s'; they are left out.",
            *(split, len(unjudged), unjudged[0]),
        )
    # BM25 has found nothing at all for those that are only judged.
    ids = dict.fromkeys([*subsets.bm25, *subsets.qrels])
    samples = []
    for query_id in ids:
        if query_id not in subsets.qrels:
            continue
        listed = subsets.bm25.get(query_id, [])[:rerank_k]
        positive: dict[str, int] = {}
        for document_id, grade in subsets.qrels[query_id].items():
            text = _text(subsets.corpus, document_id, split, "corpus")
            positive[text] = max(grade, positive.get(text, 0))  # one text may have two ids
        samples.append(
            {
                "query": _text(subsets.queries, query_id, split, "queries"),
                "positive": positive,
                "documents": [_text(subsets.corpus, i, split, "corpus") for i in listed],
            }
        )
    if not samples:
        raise EmptyDataError(f"{split}: 'qrels' has no rows, so there is nothing to judge by.")
    return samples


def _text(texts: Mapping[str, str], key: str, split: str, subset: str) -> str:
    if key not in texts:
        raise UnknownIdError(
            f"{split}: the id '{key}' is not in '{subset}', which has {len(texts)} rows. The four "
            "subsets must belong together."
        )
    return texts[key]


def _checked_names(names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [name for name in DATASETS if name not in _NOT_BY_DEFAULT]
    found = [names] if isinstance(names, str) else list(names)
    if not found:
        raise InputError("dataset_names is empty. Use None for all data sets.")
    unknown = [n for n in found if not isinstance(n, str) or n.lower() not in DATASETS]
    if unknown:
        raise InputError(
            f"dataset_names has {', '.join(map(repr, unknown))}, which NanoBEIR does not have; "
            f"choose from {', '.join(DATASETS)}."
        )
    if len({name.lower() for name in found}) < len(found):
        raise InputError("dataset_names has a name twice; it would count twice in the mean.")
    return found
