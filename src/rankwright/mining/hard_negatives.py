"""`mine_hard_negatives`: pairs to training data with hard negatives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankwright.mining.arguments import (
    check_sizes,
    format_for_ranking,
    former_formats,
    former_margin,
    warn_ignored,
    warn_small_corpus,
)
from rankwright.mining.dense import DenseRetriever
from rankwright.mining.first_stage import FirstStage, FirstStageLike, as_first_stage
from rankwright.mining.formats import Mined, build_dataset, check_output_format
from rankwright.mining.negatives import Candidates, Positives, select_negatives
from rankwright.mining.options import MiningOptions
from rankwright.mining.pairs import TextPairs, read_pairs
from rankwright.mining.pools import encoding_pool, worker_pool
from rankwright.mining.report import log_report
from rankwright.mining.rescoring import PairScorer, RescoreOptions, rescore

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["mine_hard_negatives"]

logger = logging.getLogger(__name__)


def mine_hard_negatives(
    dataset: Dataset,
    model: FirstStageLike,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | None = None,
    cross_encoder: PairScorer | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: Sequence[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | Path | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
    *,
    seed: int = 12,
    show_progress_bar: bool | None = None,
) -> Dataset:
    """Adds hard negatives to (query, relevant document) pairs.

    A first stage finds documents that look relevant; those that are no positives, and pass the
    filters, become negatives. Rows with the same query are taken for several positives of one
    query. Memory grows with queries x candidates, never with queries x documents.

    Unlike the function of the same name in Sentence Transformers: ``model`` may also be "bm25"
    or any first stage; with a ``cross_encoder`` candidates are always rescored, every distinct
    pair once; positions without a candidate are never scored or counted; cached embeddings
    follow the model's weights rather than its name; columns that do not exist are an error;
    identical rows count as one positive; a random choice depends on ``seed`` alone; and what
    was found is logged, not printed.

    Args:
        dataset: A `datasets.Dataset` of pairs; the first two columns unless named.
        model: Encoder, embedding model's folder or hub name, "bm25", or a `BM25` or
            `DenseRetriever`.
        anchor_column_name: Column of queries.
        positive_column_name: Column of relevant documents.
        corpus: Further documents to find negatives in, beside the positives of ``dataset``.
        cross_encoder: Rescores candidates and positives; filters and order then follow it.
        range_min: How many of the best candidates left after filtering are passed over.
        range_max: Where the ranks stop; None: see `MiningOptions.window`.
        max_score: Candidates above it are removed.
        min_score: Candidates below it are removed.
        absolute_margin: Least distance below the query's lowest positive score.
        relative_margin: The same as a fraction of that score's magnitude.
        num_negatives: Negatives per query.
        sampling_strategy: "top" or "random".
        query_prompt_name: Key into the encoder's prompts.
        query_prompt: Text put before every query; goes before ``query_prompt_name``.
        corpus_prompt_name: Key into the encoder's prompts.
        corpus_prompt: Text put before every document.
        include_positives: Leave positives in the ranking, for evaluation data; the format is
            then "n-tuple".
        output_format: "triplet" (query, positive, negative), one row per negative;
            "n-tuple" (query, positive, negative_1, ..., negative_n), only for positives with all
            n negatives; "labeled-pair" (query, document, label 1 or 0); "labeled-list"
            (query, list of documents, list of labels), one row per positive.
        output_scores: Adds "scores" to "triplet" and "n-tuple"; puts "score" or "scores" in
            place of the labels of the other two.
        batch_size: Texts, or pairs, at a time.
        faiss_batch_size: Most queries searched at a time, with FAISS and without.
        use_faiss: Search with FAISS; the result is the same.
        use_multi_process: True or a list of devices: encode, and rescore, in several processes
            where the models have ``start_multi_process_pool``.
        verbose: Log the statistics and show progress bars.
        cache_folder: Keeps embeddings between runs.
        as_triplets: Former name: True is ``output_format="triplet"``, False "n-tuple".
        margin: Former name of ``absolute_margin``.
        seed: Of the random choice.
        show_progress_bar: None: shown when the logger is at INFO or lower and ``verbose``.

    Returns:
        A dataset with the columns of ``output_format``. Rows follow the order in which the
        queries first appear.

    Raises:
        InputError: An argument that cannot be used; choices are listed.
        InputTypeError: ``dataset`` is no `datasets.Dataset`, or streams.
        ColumnError: Missing columns, or columns that hold no text.
        EmptyDataError: No rows, or an empty text.
        ScoreError: NaN from the encoder or the cross-encoder.
    """
    if margin is not None:
        absolute_margin = former_margin(margin)
    shape, output_scores = former_formats(output_format, output_scores, as_triplets)
    options = MiningOptions(
        num_negatives=num_negatives,
        range_min=range_min,
        range_max=range_max,
        max_score=max_score,
        min_score=min_score,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
        sampling_strategy=sampling_strategy,
        seed=seed,
    )
    check_output_format(shape)
    check_sizes(batch_size=batch_size, faiss_batch_size=faiss_batch_size)
    if include_positives:
        shape = format_for_ranking(options, shape)
    pairs = read_pairs(dataset, anchor_column_name, positive_column_name, corpus)
    warn_small_corpus(len(pairs.documents) - pairs.max_positives, options)
    for_encoders: dict[str, Any] = {
        "query_prompt": query_prompt,
        "document_prompt": corpus_prompt,
        "query_prompt_name": query_prompt_name,
        "document_prompt_name": corpus_prompt_name,
        "use_faiss": use_faiss,
        "cache_folder": cache_folder,
    }
    stage = as_first_stage(
        model, batch_size=batch_size, query_block=min(faiss_batch_size, 1024), **for_encoders
    )
    if not isinstance(stage, DenseRetriever) or stage is model:
        warn_ignored(for_encoders, stage)
    bars = show_progress_bar if verbose else False
    width = options.window(pairs.max_positives, rescored=cross_encoder is not None)
    with encoding_pool(stage, use_multi_process):
        candidates, positives = _search(stage, pairs, width + pairs.max_positives, bars)
    if cross_encoder is not None:
        with worker_pool(cross_encoder, use_multi_process) as pool:
            candidates, positives = rescore(
                cross_encoder,
                pairs.queries,
                pairs.documents,
                candidates,
                positives,
                RescoreOptions(batch_size, pool, bars),
            )
    mined = Mined(
        anchor=pairs.anchor,
        positive=pairs.positive,
        queries=pairs.queries,
        documents=pairs.documents,
        positives=positives,
        selection=select_negatives(
            candidates, positives, options, range_max=width, include_positives=include_positives
        ),
        output_format=shape,
    )
    if verbose:
        log_report(logger, mined, options)
    return build_dataset(mined, output_scores)


def _search(
    stage: FirstStage, pairs: TextPairs, k: int, show_progress_bar: bool | None
) -> tuple[Candidates, Positives]:
    stage.index(pairs.documents, show_progress_bar=show_progress_bar)
    indices, scores = stage.search(pairs.queries, k, show_progress_bar)
    positives = pairs.positives
    known = stage.score_pairs(pairs.queries, positives.rows, positives.documents)
    return Candidates(indices, scores), replace(positives, scores=known)
