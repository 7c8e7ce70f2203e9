"""`Reranker`: an exported model, run without torch and transformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.engine.exported import ExportedOptions, score_exported
from rankwright.errors import InputError, InputTypeError, MissingDependencyError
from rankwright.model.answers import Form, checked_batch_size, in_form, shows_progress
from rankwright.model.contract import checked_prompts, choose_prompt
from rankwright.model.deprecated import PREDICT_NAMES, RANK_NAMES, renamed
from rankwright.model.hub import HubOptions, local_folder
from rankwright.model.numpy_activations import NumpyActivation, resolve_numpy_activation, softmax
from rankwright.model.pairs import read_pairs
from rankwright.model.ranking import RankingModel, RankRequest, rank_request
from rankwright.model.reranker_core import RerankerCore
from rankwright.model.runtime import Choice, Runtime, open_folder
from rankwright.model.scored import Floats, ScoredPairs, ScoringJob, score_distinct

__all__ = ["Reranker"]


class Reranker(RerankerCore):
    """Scores pairs with an exported model: no torch, but ONNX Runtime, OpenVINO or our own code.

    ``predict``, ``score`` and ``rank`` are those of `rankwright.CrossEncoder`, and the same
    contract decides about activation, length, prompts and truncation. ``rankwright export`` makes
    the models. Several threads may use one object at once.

    Args:
        model_name_or_path: A folder, or the name of a model on the hub.
        backend: ``"auto"`` (default) takes the fastest model of the folder whose scores were found
            to agree with float32; ``"onnx"``, ``"openvino"`` or ``"native"``.
        precision: ``"fp32"``, ``"bf16"``, ``"int16"`` or ``"int8"``; None takes the fastest.
        file_name: Path of one exported model inside the folder.
        threads: How many batches run at once, each on one core; None for all cores.
        prompts: Prompt name -> text put before the query; None takes the folder's.
        default_prompt_name: The prompt used when a call names none; None takes the folder's.
        max_length: Most tokens per pair; None takes the folder's.
        activation_fn: Applied to logits; a name, a ``torch.nn`` module, or a function of
            ``(P, num_labels)`` float32 arrays. None takes the folder's.
        cache_folder: Where downloads are kept.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether to use the cache only.
        token: Access token for the hub.

    Attributes:
        prompts: Prompt name -> text that is put before the query.
        default_prompt_name: The prompt used when a call names none.
        calibration: Maps scores to probabilities; None for a model that was not calibrated.

    Raises:
        ModelNotFoundError: No such folder or hub model, or no exported model in it.
        ModelError, ConfigError, UnsafeModelError: A folder that cannot be used.
        MissingDependencyError: The backend's package is not installed.
        InputError: An argument with a value that cannot be used.
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        *,
        backend: str = "auto",
        precision: str | None = None,
        file_name: str | None = None,
        threads: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        max_length: int | None = None,
        activation_fn: Any = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
    ) -> None:
        choice = Choice(backend, precision, file_name, threads)
        options = HubOptions(revision, cache_folder, token, local_files_only, exports=True)
        super().__init__(open_folder(local_folder(model_name_or_path, options), choice))
        if prompts is not None:
            self.prompts = checked_prompts(prompts, "prompts")
        self.default_prompt_name = default_prompt_name or self.default_prompt_name
        choose_prompt(self.prompts, self.default_prompt_name)  # refuses unknown names
        if max_length is not None:
            self.max_length = max_length
        if activation_fn is not None:
            self.activation_fn = activation_fn

    @classmethod
    def from_runtime(cls, runtime: Runtime) -> Reranker:
        """A reranker around a model that is already loaded."""
        made = cls.__new__(cls)
        RerankerCore.__init__(made, runtime)
        return made

    def predict(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        *,
        max_length: int | None = None,
        **deprecated: Any,
    ) -> Any:
        """Scores pairs; see `rankwright.CrossEncoder.predict`.

        Args:
            inputs: Pairs in any form, or one pair.
            prompt_name: Which of ``prompts`` to put before queries.
            prompt: Text to put before queries, instead.
            batch_size: Most pairs in one batch; None lets the number of tokens decide.
            show_progress_bar: None shows it when this library logs at INFO.
            activation_fn: Instead of the model's.
            apply_softmax: Whether the scores of several labels are made to sum to 1.
            convert_to_numpy: Whether to return an array, which is the default.
            convert_to_tensor: Whether to return a torch tensor; needs torch.
            device: Only None or ``"cpu"``.
            max_length: Most tokens per pair, in this call only.
            deprecated: Names that these arguments had in earlier releases of Sentence
                Transformers.

        Returns:
            float32 scores, ``(P,)`` for one label, else ``(P, num_labels)``. Without the first
            dimension for a single pair.

        Raises:
            InputError: Inputs or options that cannot be used.
            ScoreError: The model gave NaN.
        """
        if deprecated:
            today = {"inputs": inputs, "activation_fn": activation_fn, "max_length": max_length}
            today = renamed("predict", deprecated, PREDICT_NAMES, today)
            inputs, activation_fn, max_length = today.values()
        _refuse_device(device)
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
        ).scores
        form = Form(convert_to_numpy, convert_to_tensor, read.single)
        return in_form(scores, form, _tensor)

    def score(
        self,
        inputs: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        apply_softmax: bool = False,
        max_length: int | None = None,
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

        Raises:
            InputError, ScoreError: As in `predict`.
        """
        runtime = self._runtime
        options = ExportedOptions(
            max_pairs=checked_batch_size(batch_size),
            pad_id=runtime.pad_id,
            progress=shows_progress(show_progress_bar),
        )
        limit = self.max_length if max_length is None else self.checked_max_length(max_length)
        activation = (
            self._activation if activation_fn is None else resolve_numpy_activation(activation_fn)
        )
        text = choose_prompt(self.prompts, self.default_prompt_name, prompt_name, prompt)
        return score_distinct(
            read_pairs(inputs).pairs,
            ScoringJob(self.num_labels, limit, text),
            runtime.tokenizer,
            lambda pieces, total: score_exported(runtime.backend, pieces, total, options),
            lambda logits: _activated(logits, activation, apply_softmax),
        )

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
        activation_fn: Any = None,
        device: Any = None,
        *,
        ids: Sequence[Any] | None = None,
        metadata: Sequence[Any] | None = None,
        first_stage_scores: Sequence[float] | None = None,
        **deprecated: Any,
    ) -> list[dict[str, Any]]:
        """Sorts documents by their relevance to a query, best first.

        See `rankwright.CrossEncoder.rank`, whose arguments, results and errors these are.

        Args:
            query: The query.
            documents: Texts, or mappings with a ``"text"``.
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
            deprecated: As in `predict`.

        Returns:
            ``{"corpus_id": position, "score": float}`` per document, and what was asked for.

        Raises:
            InputError: Arguments that cannot be used, or a model with several labels.
            ScoreError: The model gave NaN, or a first-stage score is not finite.
        """
        if deprecated:
            today = {"activation_fn": activation_fn}
            [activation_fn] = renamed("rank", deprecated, RANK_NAMES, today).values()
        _refuse_device(device)
        request = RankRequest(
            query, documents, top_k, return_documents, ids, metadata, first_stage_scores
        )
        return rank_request(
            request,
            RankingModel(self.num_labels, self._fusion, activation_fn is None),
            lambda pairs: self.score(
                pairs,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                activation_fn=activation_fn,
            ).scores.tolist(),
        )


def _activated(logits: Floats, activation: NumpyActivation, apply_softmax: bool) -> Floats:
    scores = np.asarray(activation(logits.copy()))
    if scores.size != logits.size:
        raise InputTypeError(
            f"activation_fn gave the shape {scores.shape} for logits of shape {logits.shape}; "
            "expected an array of the same shape."
        )
    scores = scores.reshape(logits.shape)
    if apply_softmax and logits.shape[1] > 1:
        scores = softmax(scores, dim=1)
    return scores.astype(np.float32)


def _refuse_device(device: Any) -> None:
    if device is not None and str(device) != "cpu":
        raise InputError(
            f"device={device!r}; exported models run on the CPU. For a GPU use CrossEncoder."
        )


def _tensor(scores: Floats) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError.for_package("torch", "train", "A tensor as result") from error
    return torch.from_numpy(scores)
