"""`predict`, `score` and `rank`: the model applied to texts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from rankwright.engine.scoring import ScoreOptions
from rankwright.errors import InputError, InputTypeError
from rankwright.model.activations import Activation, resolve_activation
from rankwright.model.contract import choose_prompt
from rankwright.model.core import CrossEncoderCore
from rankwright.model.deprecated import PREDICT_NAMES, RANK_NAMES, renamed
from rankwright.model.fusing import fuse
from rankwright.model.pairs import read_pairs
from rankwright.model.predict import Parts, PredictOptions, ScoredPairs, score_pairs
from rankwright.model.rank import rank_documents, read_documents

__all__ = ["Scoring"]

logger = logging.getLogger("rankwright")


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
            device: Moves the model there first.
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
        """
        if deprecated:
            today = {"inputs": inputs, "activation_fn": activation_fn, "max_length": max_length}
            today.update(renamed("predict", deprecated, PREDICT_NAMES, today))
            inputs, activation_fn, max_length = today.values()
        self._move(device)
        read = read_pairs(inputs)
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
        ).scores
        if convert_to_tensor:
            tensor = torch.from_numpy(scores).to(self.device)
            return tensor[0] if read.single else tensor
        if convert_to_numpy:
            return scores[0] if read.single else scores
        rows = list(torch.from_numpy(scores).to(self.device))
        return rows[0] if read.single else rows

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

        Raises:
            InputError, ScoreError: As in `predict`.
        """
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch_size={batch_size!r}; expected at least 1, or None.")
        if show_progress_bar is None:
            show_progress_bar = logger.getEffectiveLevel() <= logging.INFO
        engine = ScoreOptions(
            max_pairs=batch_size,
            precision=precision or self.precision,
            progress=show_progress_bar,
            device=self.device,
        )
        limit = self.max_length if max_length is None else self.checked_max_length(max_length)
        activation = (
            self.activation_fn if activation_fn is None else resolve_activation(activation_fn)
        )
        text = choose_prompt(self.prompts, self.default_prompt_name, prompt_name, prompt)
        parts = Parts(
            self.model, self.pair_tokenizer, self.scorer, self.num_labels, self._evaluation_mode
        )
        options = PredictOptions(limit, activation, text, apply_softmax, engine)
        return score_pairs(parts, read_pairs(inputs).pairs, options)

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
        """
        if deprecated:
            today = {"activation_fn": activation_fn}
            activation_fn = {**today, **renamed("rank", deprecated, RANK_NAMES, today)}[
                "activation_fn"
            ]
        if self.num_labels != 1:
            raise InputError(
                f"rank needs a model with one label; this one has {self.num_labels}. "
                "Use predict and sort by the label you want."
            )
        if not isinstance(query, str):
            raise InputTypeError(f"query is {query!r:.60} ({type(query).__name__}); not a string.")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k={top_k!r}; expected at least 1, or None for all documents.")
        if first_stage_scores is not None:
            self._check_fusable(activation_fn)
        self._move(device)
        candidates = read_documents(documents, ids, metadata)
        scores = self.score(
            [(query, text) for text in candidates.texts],
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
        ).scores.tolist()
        columns = {"score": scores}
        if first_stage_scores is not None and self.fusion is not None:
            first = list(first_stage_scores)
            mixed = fuse(self.fusion, scores, first)
            columns = {"score": mixed, "reranker_score": scores, "first_stage_score": first}
        return rank_documents(candidates, columns, top_k, return_documents)

    def _check_fusable(self, activation_fn: str | Activation | None) -> None:
        if self.fusion is None:
            raise InputError(
                "first_stage_scores was passed, but this model does not know how to mix them in. "
                "Tune the weight on validation queries and set model.fusion = fusion.to_dict()."
            )
        if activation_fn is not None:
            raise InputError(
                "first_stage_scores and activation_fn cannot be passed together: the weight was "
                "tuned for the model's own activation."
            )

    def _move(self, device: str | torch.device | Sequence[str | torch.device] | None) -> None:
        if device is None:
            return
        devices = [device] if isinstance(device, (str, torch.device)) else list(device)
        if len(devices) != 1:
            raise InputError(
                f"device={devices!r}; one model scores on one device. Load one model per device "
                "and give each a share of the pairs."
            )
        if torch.device(devices[0]) != self.device:
            self.to(devices[0])
