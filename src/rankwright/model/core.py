"""What a cross-encoder is made of: the model, its tokenizer, and the contract it scores by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rankwright.engine.batch import PackedBatch
from rankwright.engine.last_token import LastTokenScorer, WholeRowScorer
from rankwright.engine.mode import EvaluationMode
from rankwright.engine.padded import unpadded
from rankwright.engine.precision import resolve_precision
from rankwright.engine.prompted import TemplateTokenizer
from rankwright.engine.scorers import Scorer, build_scorer
from rankwright.engine.tokenize import PairTokenizer
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError
from rankwright.model.activations import (
    Activation,
    build_activation,
    default_activation,
    describe_activation,
    resolve_activation,
)
from rankwright.model.chat import Templates
from rankwright.model.contract import ScoringContract, checked_prompts
from rankwright.model.fusing import check_fusion
from rankwright.model.limits import checked_length, position_limit

__all__ = ["Assembly", "CrossEncoderCore", "best_device"]


@dataclass(frozen=True)
class Assembly:
    """The parts of a cross-encoder.

    Attributes:
        model: A transformers model with a sequence-classification head, or a causal language
            model.
        tokenizer: Its tokenizer.
        contract: How pairs are scored; ``max_length`` is set.
        activation_fn: Used in place of the contract's activation.
        precision: ``"float32"``, ``"auto"``, ``"bfloat16"``, ``"float16"`` or ``"int16"``.
        trust_remote_code: Whether the contract may name an activation outside torch.
        tokens: What a causal language model is scored by; None for a model with a head.
        templates: How pairs are put to a language model; None for plain pairs.
    """

    model: Any
    tokenizer: Any
    contract: ScoringContract
    activation_fn: str | Activation | None = None
    precision: str = "float32"
    trust_remote_code: bool = False
    tokens: TwoTokens | None = None
    templates: Templates | None = None


class CrossEncoderCore(nn.Module):
    """State and forward pass of `CrossEncoder`.

    Attributes:
        model: The transformers model; may be replaced, for example by a PEFT wrapper around it.
        tokenizer: Its tokenizer. Scoring works on a copy of it: assign a new one to change it.
        prompts: Prompt name -> text that is put before the query.
        default_prompt_name: The prompt used when a call names none.
        calibration: Maps scores to probabilities; None for a model that was not calibrated.
        precision: In which number format products are computed when a call names none.
    """

    model: Any
    prompts: dict[str, str]
    default_prompt_name: str | None
    calibration: dict[str, Any] | None
    precision: str
    _activation_fn: Activation

    def __init__(self, assembly: Assembly) -> None:
        super().__init__()
        contract = assembly.contract
        self.model = assembly.model
        self._scorer: tuple[list[nn.Module], Scorer] | None = None
        self._evaluation_mode = EvaluationMode()
        self._position_limit = position_limit(self.config.to_dict())
        self._tokens = assembly.tokens
        self._templates = assembly.templates
        self.tokenizer = assembly.tokenizer
        self.prompts = dict(contract.prompts)
        self.default_prompt_name = contract.default_prompt_name
        self.fusion = contract.fusion
        self.calibration = None if contract.calibration is None else dict(contract.calibration)
        resolve_precision(assembly.precision, "cpu")  # refuses a name that is not known
        self.precision = assembly.precision
        if contract.max_length is None:
            raise InputError("A cross-encoder needs a max_length; the contract names none.")
        self.max_length = contract.max_length
        if assembly.activation_fn is not None:
            self.activation_fn = assembly.activation_fn
        else:
            spec = contract.activation or default_activation(self.num_labels)
            self.activation_fn = build_activation(spec, assembly.trust_remote_code)
        self.train(self.model.training)

    def __getstate__(self) -> dict[str, Any]:
        # The scorer belongs to this very model object; a copy builds its own.
        return {**self.__dict__, "_scorer": None}

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def num_labels(self) -> int:
        """Outputs per pair."""
        if self._tokens is not None:
            return 1
        return int(self.config.num_labels)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        templates = self._templates
        self._pair_tokenizer: PairTokenizer | TemplateTokenizer = (
            PairTokenizer(tokenizer)
            if templates is None
            else TemplateTokenizer(tokenizer, templates.plain, templates.instructed)
        )

    @property
    def template(self) -> str | None:
        """What stands around a query and a document, with ``{instruction}``, ``{query}`` and
        ``{document}`` in their places; None where they are encoded as a plain pair."""
        if self._templates is None:
            return None
        return (self._templates.instructed or self._templates.plain).source

    @property
    def score_tokens(self) -> TwoTokens | None:
        """The tokens whose logits make the score of a causal language model; None for others."""
        return self._tokens

    @property
    def pair_tokenizer(self) -> PairTokenizer | TemplateTokenizer:
        """Encodes pairs, safely from any thread."""
        return self._pair_tokenizer

    @property
    def scorer(self) -> Scorer:
        """Scores packed batches with the present model."""
        # Adapters are put in and taken out by exchanging modules inside the model.
        parts = list(self.model.modules())
        kept = self._scorer
        if kept is None or kept[0] != parts:
            kept = self._scorer = (parts, build_scorer(self.model, self._tokens))
        return kept[1]

    @property
    def activation_fn(self) -> Activation:
        """Applied to logits by ``predict``; never by ``forward``.

        May be set to a ``torch.nn`` module, a name such as ``"sigmoid"``, or any callable on
        ``(P, num_labels)`` tensors, which then cannot be saved.
        """
        return self._activation_fn

    @activation_fn.setter
    def activation_fn(self, activation: str | Activation) -> None:
        # Past nn.Module, which would make an activation module a part of the weights.
        object.__setattr__(self, "_activation_fn", resolve_activation(activation))

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module stores modules before it looks for a property's setter.
        if name in ("activation_fn", "default_activation_function"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def default_activation_function(self) -> Activation:
        """An earlier name of `activation_fn`."""
        return self.activation_fn

    @default_activation_function.setter
    def default_activation_function(self, activation: str | Activation) -> None:
        self.activation_fn = activation

    @property
    def max_length(self) -> int:
        """Most tokens per pair, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        self._max_length = self.checked_max_length(value)
        self.tokenizer.model_max_length = self._max_length

    @property
    def max_seq_length(self) -> int:
        """The same as `max_length`."""
        return self.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.max_length = value

    def checked_max_length(self, value: Any) -> int:
        """``value``, if pairs can be that long.

        Raises:
            InputTypeError: Not an integer.
            InputError: Less than 1, or more than the model has positions for.
        """
        return checked_length(value, self._position_limit)

    @property
    def fusion(self) -> dict[str, Any] | None:
        """How ``rank`` mixes in first-stage scores: what ``Fusion.to_dict()`` gives, or None."""
        return self._fusion

    @fusion.setter
    def fusion(self, value: Mapping[str, Any] | None) -> None:
        self._fusion = None if value is None else check_fusion(value)

    @property
    def contract(self) -> ScoringContract:
        """How pairs are scored at present, as it would be saved.

        Raises:
            InputError: The activation is a function of the caller's, which cannot be saved.
        """
        return ScoringContract(
            activation=describe_activation(self.activation_fn),
            max_length=self.max_length,
            prompts=checked_prompts(self.prompts, "prompts"),
            default_prompt_name=self.default_prompt_name,
            fusion=self.fusion,
            calibration=self.calibration,
        )

    def forward(self, batch: PackedBatch | Mapping[str, Tensor]) -> Tensor:
        """Raw logits, before any activation.

        Args:
            batch: P pairs, packed; or padded tensors by name as a transformers model takes them,
                each ``(P, longest)``.

        Returns:
            ``(P,)`` for one label, else ``(P, num_labels)``; differentiable.
        """
        if not isinstance(batch, PackedBatch) and "lengths" in batch:
            batch = PackedBatch.from_dict(batch)
        scorer = self.scorer
        if not isinstance(batch, PackedBatch) and isinstance(
            scorer, (LastTokenScorer, WholeRowScorer)
        ):
            batch = unpadded(batch)  # so that it does not matter which side is padded
        if isinstance(batch, PackedBatch):
            logits = scorer(batch)
        else:
            features = {
                name: value.to(self.device) for name, value in batch.items() if name != "labels"
            }
            logits = self.model(**features).logits
        return logits.squeeze(-1) if self.num_labels == 1 else logits

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Computes activations again in the backward pass, to save memory."""
        # transformers 5 renamed it and warns about the old name.
        enable = getattr(self.model, "activation_checkpointing_enable", None)
        (enable or self.model.gradient_checkpointing_enable)(gradient_checkpointing_kwargs)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps activations for the backward pass."""
        disable = getattr(self.model, "activation_checkpointing_disable", None)
        (disable or self.model.gradient_checkpointing_disable)()


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
