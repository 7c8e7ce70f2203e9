"""`predict`, `score` and `rank`: the model applied to texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from rankwright.engine.prompted import split_prompt
from rankwright.engine.scoring import ScoreOptions
from rankwright.errors import InputError, InputTypeError
from rankwright.model.activations import Activation, resolve_activation
from rankwright.model.answers import Form, checked_batch_size, in_form, shows_progress
from rankwright.model.contract import choose_prompt
from rankwright.model.core import CrossEncoderCore
from rankwright.model.deprecated import PREDICT_NAMES, RANK_NAMES, renamed
from rankwright.model.pairs import Pair, read_pairs
from rankwright.model.pool import WorkerJob, WorkerPool, checked_chunk_size, default_devices
from rankwright.model.predict import (
    Parts,
    PredictOptions,
    ScoredPairs,
    compute_pairs,
    score_pairs,
)
from rankwright.model.ranking import RankingModel, RankRequest, rank_request
from rankwright.model.scored import Computed

__all__ = ["Scoring"]


class Scoring(CrossEncoderCore):
    """The scoring methods of `CrossEncoder`."""

    def predict(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Activation | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | torch.device | Sequence[str | torch.device] | None = None,
        pool: WorkerPool | None = None,
        chunk_size: int | None = None,
        *,
        max_length: int | None = None,
        precision: str | None = None,
        **deprecated: Any,
    ) -> Any:
        """Scores pairs.

        Pairs are sorted by length and batched by tokens, without padding; equal pairs are scored
        once. Threads may call this at the same time, each with its own options.

        Args:
            inputs: Pairs in any form that `rankwright.model.pairs.read_pairs` takes: a list,
                generator or array of (query, document), rows or columns by name, or one pair.
            prompt_name: Which of ``prompts`` to put before queries.
            prompt: Text to put before queries, instead.
            batch_size: Most pairs in one forward pass; None lets the number of tokens decide,
                which is faster.
            show_progress_bar: None shows it when this library logs at INFO.
            activation_fn: Instead of the model's.
            apply_softmax: Whether the scores of several labels are made to sum to 1.
            convert_to_numpy: Whether to return an array, which is the default.
            convert_to_tensor: Whether to return a tensor on the model's device.
            device: Moves the model there first. A list of several starts a process on each for
                this call, with a copy of the model: see `start_multi_process_pool`.
            pool: Processes to score in, from `start_multi_process_pool`.
            chunk_size: Pairs that a process is given at a time; None picks. For several
                processes only.
            max_length: Most tokens per pair, in this call only.
            precision: In this call only.
            deprecated: Names that these arguments had in earlier releases of Sentence
                Transformers.

        Returns:
            float32 scores, ``(P,)`` for one label, else ``(P, num_labels)``: an array, a tensor,
            or a list of tensors if both ``convert_to`` are False. Without the first dimension
            for a single pair.

        Raises:
            InputError: Inputs or options that cannot be used.
            ScoreError: The model gave NaN.
            WorkerError: One of several processes failed.
        """
        if deprecated:
            today = {"inputs": inputs, "activation_fn": activation_fn, "max_length": max_length}
            today = renamed("predict", deprecated, PREDICT_NAMES, today)
            inputs, activation_fn, max_length = today.values()
        read = read_pairs(inputs)
        with self._placed(device, pool) as workers:
            scores = self.score(
                read.pairs,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                activation_fn=activation_fn,
                apply_softmax=bool(apply_softmax),
                max_length=max_length,
                precision=precision,
                pool=workers,
                chunk_size=chunk_size,
            ).scores
        form = Form(convert_to_numpy, convert_to_tensor, read.single)
        return in_form(scores, form, lambda found: torch.from_numpy(found).to(self.device))

    def score(
        self,
        inputs: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Activation | None = None,
        apply_softmax: bool = False,
        max_length: int | None = None,
        precision: str | None = None,
        pool: WorkerPool | None = None,
        chunk_size: int | None = None,
    ) -> ScoredPairs:
        """Like `predict`, and tells what happened: logits, lengths and how many were cut.

        Args:
            inputs: As in `predict`; a single pair counts as a list of one.
            prompt_name: As in `predict`.
            prompt: As in `predict`.
            batch_size: As in `predict`.
            show_progress_bar: As in `predict`.
            activation_fn: As in `predict`.
            apply_softmax: As in `predict`.
            max_length: As in `predict`.
            precision: As in `predict`.
            pool: As in `predict`.
            chunk_size: As in `predict`.

        Raises:
            InputError, ScoreError, WorkerError: As in `predict`.
        """
        job = WorkerJob(
            prompt=choose_prompt(self.prompts, self.default_prompt_name, prompt_name, prompt),
            max_length=(
                self.max_length if max_length is None else self.checked_max_length(max_length)
            ),
            batch_size=checked_batch_size(batch_size),
            precision=precision or self.precision,
            progress=shows_progress(show_progress_bar),
            chunk_size=checked_chunk_size(chunk_size),
        )
        activation = (
            self.activation_fn if activation_fn is None else resolve_activation(activation_fn)
        )
        options = PredictOptions(job.max_length, activation, softmax=apply_softmax)
        return score_pairs(
            read_pairs(inputs).pairs,
            self.num_labels,
            options,
            lambda pairs: (
                self.compute_job(pairs, job) if pool is None else pool.compute(pairs, job)
            ),
        )

    def compute_job(self, pairs: list[Pair], job: WorkerJob) -> Computed:
        """Logits of at least one pair, as `score` has them computed here or in a worker."""
        engine = ScoreOptions(
            max_pairs=job.batch_size,
            precision=job.precision,
            progress=job.progress,
            device=self.device,
        )
        tokenizer, prefix = split_prompt(self.pair_tokenizer, job.prompt)
        parts = Parts(self.model, tokenizer, self.scorer, self._evaluation_mode)
        options = PredictOptions(job.max_length, self.activation_fn, prefix, engine=engine)
        return compute_pairs(parts, pairs, options)

    def rank(
        self,
        query: str,
        documents: Iterable[str | Mapping[str, Any]],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Activation | None = None,
        device: str | torch.device | Sequence[str | torch.device] | None = None,
        pool: WorkerPool | None = None,
        chunk_size: int | None = None,
        *,
        ids: Sequence[Any] | None = None,
        metadata: Sequence[Any] | None = None,
        first_stage_scores: Sequence[float] | None = None,
        **deprecated: Any,
    ) -> list[dict[str, Any]]:
        """Sorts documents by their relevance to a query, best first.

        Args:
            query: The query.
            documents: Texts, or mappings with a ``"text"``, whose ``"id"`` (or ``"_id"``) and
                other entries come back as id and metadata.
            top_k: How many to return; None for all.
            return_documents: Whether to return the texts.
            prompt_name: As in `predict`.
            prompt: As in `predict`.
            batch_size: As in `predict`.
            show_progress_bar: As in `predict`.
            activation_fn: As in `predict`.
            device: As in `predict`.
            pool: As in `predict`.
            chunk_size: As in `predict`.
            ids: One id per document.
            metadata: One entry of any kind per document.
            first_stage_scores: One score per document, mixed in as `fusion` says.
            deprecated: Names that these arguments had in earlier releases of Sentence
                Transformers.

        Returns:
            ``{"corpus_id": position, "score": float}`` per document, with ``"text"``, ``"id"``
            and ``"metadata"`` where there are any, and ``"reranker_score"`` and
            ``"first_stage_score"`` where they were mixed. Equal scores keep their order.

        Raises:
            InputError: Arguments that cannot be used, or a model with several labels.
            ScoreError: The model gave NaN, or a first-stage score is not finite.
            WorkerError: One of several processes failed.
        """
        if deprecated:
            today = {"activation_fn": activation_fn}
            [activation_fn] = renamed("rank", deprecated, RANK_NAMES, today).values()
        request = RankRequest(
            query, documents, top_k, return_documents, ids, metadata, first_stage_scores
        )
        model = RankingModel(self.num_labels, self.fusion, activation_fn is None)
        with self._placed(device, pool) as workers:
            return rank_request(
                request,
                model,
                lambda pairs: self.score(
                    pairs,
                    prompt_name=prompt_name,
                    prompt=prompt,
                    batch_size=batch_size,
                    show_progress_bar=show_progress_bar,
                    activation_fn=activation_fn,
                    pool=workers,
                    chunk_size=chunk_size,
                ).scores.tolist(),
            )

    def start_multi_process_pool(
        self, target_devices: Sequence[str | torch.device] | None = None
    ) -> WorkerPool:
        """Processes that score with copies of the model, as it is now; `predict` takes them.

        They are spawned, so the program's main part needs ``if __name__ == "__main__":`` around
        it. End them with `stop_multi_process_pool`, or use what this returns in ``with``. On CPUs
        the threads are shared out among them.

        Args:
            target_devices: A device for each process, such as ``["cuda:0", "cuda:1"]`` or
                ``["cpu", "cpu"]``; None for all GPUs, or up to four processes on the CPU.

        Raises:
            InputError: Devices that cannot be used.
            WorkerError: A process could not be started.
        """
        return WorkerPool(self, default_devices() if target_devices is None else target_devices)

    @staticmethod
    def stop_multi_process_pool(pool: WorkerPool) -> None:
        """Ends the processes of a pool; stopping twice does nothing."""
        pool.close()

    @contextmanager
    def _placed(
        self,
        device: str | torch.device | Sequence[str | torch.device] | None,
        pool: WorkerPool | None,
    ) -> Iterator[WorkerPool | None]:
        """Moves the model if asked to; the processes to score in, if there are any."""
        given = [device] if isinstance(device, (str, torch.device)) else device
        if pool is not None and not isinstance(pool, WorkerPool):
            raise InputTypeError(
                f"pool is {type(pool).__name__}; expected what start_multi_process_pool returns."
            )
        if pool is not None and given is not None:
            raise InputError("Pass device or pool, not both: a pool's processes have devices.")
        if given is None:
            yield pool
        elif len(given) == 1:
            if torch.device(given[0]) != self.device:
                self.to(given[0])
            yield None
        else:
            with WorkerPool(self, given) as started:
                yield started
