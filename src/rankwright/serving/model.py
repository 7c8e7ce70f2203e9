"""What the server needs of a model, whichever backend runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankwright.engine.prompted import TemplateTokenizer, split_prompt
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputError, MissingDependencyError, ModelNotFoundError
from rankwright.model.contract import choose_prompt

__all__ = [
    "AnyTokenizer",
    "ExportedModel",
    "ModelChoice",
    "ServedModel",
    "TorchModel",
    "open_model",
    "sigmoid",
]

Floats = NDArray[np.float32]
AnyTokenizer = PairTokenizer | TemplateTokenizer
"""Both encode pairs, and count and place the tokens of single texts."""
BACKENDS = ("auto", "torch", "onnx", "openvino", "native")


class ServedModel(Protocol):
    """A reranker with one score per pair, taken apart for batching across requests."""

    backend: str
    max_length: int
    batch_tokens: int
    tokenizer: AnyTokenizer
    """With the model's own instruction, if it reads pairs inside a template."""
    bounded: bool
    """Whether `scores` lie between 0 and 1."""

    def prompt(self) -> str:
        """What is put before every query."""

    def instructed(self, instruction: str) -> AnyTokenizer | None:
        """A tokenizer with another instruction; None if the model takes none."""

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
        text = choose_prompt(model.prompts, model.default_prompt_name)
        self.tokenizer: AnyTokenizer
        self.tokenizer, self._prefix = split_prompt(model.pair_tokenizer, text)
        self.batch_tokens = default_token_budget(model.device)
        self.bounded = type(model.activation_fn).__name__ == "Sigmoid"
        self._options = ScoreOptions(precision=model.precision, device=model.device)

    def prompt(self) -> str:
        """What is put before every query."""
        return self._prefix

    def instructed(self, instruction: str) -> AnyTokenizer | None:
        """A tokenizer with another instruction; None if the model takes none."""
        plain = self._model.pair_tokenizer
        takes = isinstance(plain, TemplateTokenizer) and plain.takes_instruction
        return plain.with_instruction(instruction) if takes else None

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


class ExportedModel:
    """A `Reranker`, which needs no torch, behind the server."""

    def __init__(self, reranker: Any) -> None:
        if reranker.num_labels != 1:
            raise InputError(
                f"The server ranks by one score, but this model has {reranker.num_labels} labels."
            )
        from rankwright.engine.exported import TOKEN_BUDGET, ExportedOptions

        self._reranker = reranker
        self._backend = reranker._runtime.backend
        self.backend = f"{reranker.backend} {reranker.precision}"
        self.max_length: int = reranker.max_length
        self.tokenizer: AnyTokenizer = reranker._runtime.tokenizer
        # One batch on each core at a time.
        self.batch_tokens = TOKEN_BUDGET * self._backend.threads
        self._options = ExportedOptions(pad_id=reranker._runtime.pad_id)
        name = reranker._runtime.contract.activation
        self.bounded = name is None or name.name == "Sigmoid"

    def prompt(self) -> str:
        """What is put before every query."""
        return choose_prompt(self._reranker.prompts, self._reranker.default_prompt_name)

    def instructed(self, instruction: str) -> AnyTokenizer | None:
        """None: exported models read plain pairs."""
        return None

    def logits(self, pairs: TokenizedPairs) -> Floats:
        """``(P,)`` raw scores."""
        from rankwright.engine.exported import score_exported

        return score_exported(self._backend, (pairs,), len(pairs), self._options).reshape(-1)

    def scores(self, logits: Floats) -> Floats:
        """``(P,)`` scores after the model's activation."""
        result: Floats = self._reranker.activation_fn(logits[:, None].copy())[:, 0]
        return result


@dataclass(frozen=True)
class ModelChoice:
    """What to serve, and how to run it.

    Attributes:
        model: Folder or hub name.
        backend: ``"torch"``, ``"onnx"``, ``"openvino"``, ``"native"``; ``"auto"`` takes an exported
            model that was found to agree with float32 if there is one, else torch.
        device: Where torch runs the model; None for the best there is.
        precision: Of torch's products: ``"auto"``, ``"float32"``, ``"bfloat16"``,
            ``"float16"`` or ``"int16"``; of exported models: ``"fp32"``, ``"bf16"``, ``"int16"``
            or ``"int8"``, and ``"auto"`` for the fastest.
        threads: Cores the model may keep busy; None leaves that to the backend, which takes all.
    """

    model: str
    backend: str = "auto"
    device: str | None = None
    precision: str = "auto"
    threads: int | None = None


def open_model(choice: ModelChoice) -> ServedModel:
    """Loads what is to be served.

    Raises:
        InputError: A backend that is not known, or a model with several labels.
        ModelNotFoundError, ModelError: No such model, or none that can be used.
    """
    if choice.backend not in BACKENDS:
        raise InputError(
            f"backend={choice.backend!r} is not known; choose one of {', '.join(BACKENDS)}."
        )
    if choice.backend != "torch" and choice.device is None:
        from rankwright.model.reranker import Reranker

        exported = None if choice.precision == "auto" else choice.precision
        try:
            if choice.backend != "auto" or choice.precision == "auto":
                return ExportedModel(
                    Reranker(
                        choice.model,
                        backend=choice.backend,
                        precision=exported,
                        threads=choice.threads,
                    )
                )
        except (ModelNotFoundError, MissingDependencyError):
            if choice.backend != "auto":
                raise
    from rankwright.engine.allocator import keep_freed_memory
    from rankwright.model import CrossEncoder

    keep_freed_memory()
    if choice.threads is not None:
        import torch

        torch.set_num_threads(choice.threads)
    return TorchModel(CrossEncoder(choice.model, device=choice.device, precision=choice.precision))


def sigmoid(logits: Sequence[float] | Floats) -> Floats:
    """The logistic function, without overflow, as float32."""
    wide = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
