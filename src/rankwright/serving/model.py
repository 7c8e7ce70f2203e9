"""What the server needs of a model, whichever backend runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputError
from rankwright.model.contract import choose_prompt

__all__ = ["ServedModel", "TorchModel", "serve_torch", "sigmoid"]

Floats = NDArray[np.float32]


class ServedModel(Protocol):
    """A reranker with one score per pair, taken apart for batching across requests."""

    backend: str
    max_length: int
    batch_tokens: int
    tokenizer: PairTokenizer
    bounded: bool
    """Whether `scores` lie between 0 and 1."""

    def prompt(self) -> str:
        """What is put before every query."""

    def logits(self, pairs: TokenizedPairs) -> Floats:
        """``(P,)`` raw scores; called from one thread only."""

    def scores(self, logits: Floats) -> Floats:
        """``(P,)`` scores: the model's own activation applied to logits."""


class TorchModel:
    """A `CrossEncoder` behind the server."""

    backend = "torch"

    def __init__(self, model: Any) -> None:
        if model.num_labels != 1:
            raise InputError(
                f"The server ranks by one score, but this model has num_labels={model.num_labels}."
            )
        from rankwright.engine.scoring import ScoreOptions, default_token_budget

        self._model = model
        self.max_length: int = model.max_length
        self.tokenizer: PairTokenizer = model.pair_tokenizer
        self.batch_tokens = default_token_budget(model.device)
        self.bounded = type(model.activation_fn).__name__ == "Sigmoid"
        self._options = ScoreOptions(precision=model.precision, device=model.device)

    def prompt(self) -> str:
        """What is put before every query."""
        return choose_prompt(self._model.prompts, self._model.default_prompt_name)

    def logits(self, pairs: TokenizedPairs) -> Floats:
        """``(P,)`` raw scores."""
        from rankwright.engine.scoring import score

        if self._model.scorer.packed:
            return score(self._model.scorer, pairs, self._options).reshape(-1)
        with self._model._evaluation_mode(self._model):
            return score(self._model.scorer, pairs, self._options).reshape(-1)

    def scores(self, logits: Floats) -> Floats:
        """``(P,)`` scores after the model's activation."""
        import torch

        with torch.inference_mode():
            result: Floats = self._model.activation_fn(torch.from_numpy(logits[:, None].copy()))[
                :, 0
            ].numpy()
        return result


def serve_torch(
    name_or_path: str, device: str | None = None, precision: str = "auto"
) -> TorchModel:
    """Loads a `CrossEncoder` for serving."""
    from rankwright.model import CrossEncoder

    return TorchModel(CrossEncoder(name_or_path, device=device, precision=precision))


def sigmoid(logits: Sequence[float] | Floats) -> Floats:
    """The logistic function, without overflow, as float32."""
    wide = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
