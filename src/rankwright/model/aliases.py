"""What programs written for Sentence Transformers ask a `CrossEncoder` beside its main methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from rankwright.errors import InputError, InputTypeError
from rankwright.model.activations import build_activation, default_activation
from rankwright.model.legacy import Legacy
from rankwright.model.pairs import read_pairs
from rankwright.model.persistence import Persistence

__all__ = ["Aliases"]


class Aliases(Persistence, Legacy):
    """Further names, all of them thin."""

    @property
    def transformers_model(self) -> Any:
        """The same as ``model``."""
        return self.model

    @property
    def processor(self) -> Any:
        """The same as ``tokenizer``."""
        return self.tokenizer

    @property
    def modalities(self) -> list[str]:
        """What can be scored: ``["text"]``."""
        return ["text"]

    def supports(self, modality: str) -> bool:
        """Whether inputs of this kind can be scored; True for ``"text"`` alone."""
        return modality in self.modalities

    def get_backend(self) -> str:
        """``"torch"``; exported models are run by `rankwright.Reranker`."""
        return "torch"

    def get_max_seq_length(self) -> int:
        """The same as ``max_length``."""
        return self.max_length

    def get_default_activation_fn(self) -> Callable[[Tensor], Tensor]:
        """What a model with as many labels is given if nothing is said: Sigmoid or Identity."""
        return build_activation(default_activation(self.num_labels))

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether ``inputs`` is one pair rather than many. A generator is used up by asking.

        Raises:
            InputTypeError, InputError: Nothing that ``predict`` takes.
        """
        return read_pairs(inputs).single

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None) -> Any:
        """Pairs as the padded tensors that ``forward`` and the transformers model take.

        `predict` has no use for it: it packs pairs without padding.

        Args:
            inputs: Pairs, or single texts.
            prompt: Text to put before queries; the default prompt is not put there.

        Returns:
            A mapping of ``(P, longest)`` tensors on the model's device; empty for no inputs.

        Raises:
            InputTypeError: A bare string.
            InputError: Neither pairs nor texts, or the model is a causal language model.
        """
        if isinstance(inputs, str):
            raise InputTypeError(f"inputs is the bare string {inputs!r:.60}; expected a list.")
        items = list(inputs)
        if not items:
            return {}
        if all(isinstance(item, str) for item in items):
            return self._padded([items], prompt or "")
        if isinstance(items[0], str):
            raise InputError("inputs mixes texts and pairs; pass either.")
        queries, documents = zip(*read_pairs(items).pairs, strict=True)
        return self._padded([list(queries), list(documents)], prompt or "")

    def tokenize(self, texts: Sequence[Any]) -> Any:
        """An earlier name of `preprocess`."""
        warnings.warn("tokenize is now preprocess.", FutureWarning, stacklevel=2)
        return self.preprocess(texts)

    def save_to_hub(
        self,
        repo_id: str,
        organization: str | None = None,
        token: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str = "Add new model.",
        local_model_path: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
    ) -> str:
        """An earlier name of `push_to_hub`, with the organisation as an argument of its own.

        Args:
            repo_id: Name of the repository.
            organization: Put before a name that has none.
            token: As in `push_to_hub`, like all that follow.
            private: See there.
            safe_serialization: See there.
            commit_message: See there.
            local_model_path: See there.
            exist_ok: See there.
            replace_model_card: See there.
            train_datasets: See there.

        Raises:
            InputError: Two different organisations, or as in `push_to_hub`.
            SaveError: As in `push_to_hub`.
        """
        warnings.warn("save_to_hub is now push_to_hub.", FutureWarning, stacklevel=2)
        owner, _, name = repo_id.rpartition("/")
        if organization and owner not in ("", organization):
            raise InputError(
                f"organization={organization!r}, but repo_id={repo_id!r} names another one. Leave "
                "organization out."
            )
        return self.push_to_hub(
            f"{organization}/{name}" if organization else repo_id,
            token=token,
            private=private,
            safe_serialization=safe_serialization,
            commit_message=commit_message,
            local_model_path=local_model_path,
            exist_ok=exist_ok,
            replace_model_card=replace_model_card,
            train_datasets=train_datasets,
        )
