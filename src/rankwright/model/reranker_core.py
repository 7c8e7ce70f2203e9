"""What an exported model is made of: a running session, and the contract it scores by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankwright.model.contract import ActivationSpec
from rankwright.model.fusing import check_fusion
from rankwright.model.limits import checked_length
from rankwright.model.numpy_activations import NumpyActivation, resolve_numpy_activation
from rankwright.model.runtime import Runtime

__all__ = ["RerankerCore"]


class RerankerCore:
    """State of `Reranker`.

    Args:
        runtime: A model that is already loaded.

    Attributes:
        prompts: Prompt name -> text that is put before the query.
        default_prompt_name: The prompt used when a call names none.
        calibration: Maps scores to probabilities; None for a model that was not calibrated.
    """

    prompts: dict[str, str]
    default_prompt_name: str | None
    calibration: dict[str, Any] | None

    def __init__(self, runtime: Runtime) -> None:
        contract = runtime.contract
        default = ActivationSpec("Sigmoid" if runtime.num_labels == 1 else "Identity")
        self._runtime = runtime
        self._activation = resolve_numpy_activation(contract.activation or default)
        self._max_length = self.checked_max_length(contract.max_length)
        self.prompts = dict(contract.prompts)
        self.default_prompt_name = contract.default_prompt_name
        self.calibration = None if contract.calibration is None else dict(contract.calibration)
        self._fusion = None if contract.fusion is None else check_fusion(contract.fusion)

    @property
    def backend(self) -> str:
        """``"onnx"``, ``"openvino"`` or ``"native"``."""
        return self._runtime.backend.name

    @property
    def precision(self) -> str:
        """``"fp32"``, ``"bf16"``, ``"int16"`` or ``"int8"``: as what the model was exported."""
        return self._runtime.entry.precision

    @property
    def computes(self) -> str:
        """In which number format this machine computes it."""
        return self._runtime.backend.computes

    @property
    def file_name(self) -> str:
        """Path of the exported model inside its folder."""
        return self._runtime.entry.file

    @property
    def num_labels(self) -> int:
        """Outputs per pair."""
        return self._runtime.num_labels

    @property
    def fusion(self) -> dict[str, Any] | None:
        """How ``rank`` mixes in first-stage scores; see `rankwright.CrossEncoder`."""
        return self._fusion

    @fusion.setter
    def fusion(self, value: Mapping[str, Any] | None) -> None:
        self._fusion = None if value is None else check_fusion(value)

    @property
    def activation_fn(self) -> NumpyActivation:
        """Applied to ``(P, num_labels)`` float32 logits."""
        return self._activation

    @activation_fn.setter
    def activation_fn(self, activation: Any) -> None:
        self._activation = resolve_numpy_activation(activation)

    @property
    def max_length(self) -> int:
        """Most tokens per pair, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        self._max_length = self.checked_max_length(value)

    def checked_max_length(self, value: Any) -> int:
        """``value``, if pairs can be that long.

        Raises:
            InputTypeError: Not an integer.
            InputError: Less than 1, or more than the model has positions for.
        """
        return checked_length(value, self._runtime.position_limit)
