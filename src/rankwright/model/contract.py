"""`ScoringContract`: everything beside the weights that decides what score a pair gets.

Plain data without torch, so that every backend and a server obey the same contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rankwright.errors import ConfigError, InputError, InputTypeError

__all__ = [
    "CONTRACT_VERSION",
    "TRUNCATION_POLICIES",
    "ActivationSpec",
    "ScoringContract",
    "checked_prompts",
    "choose_prompt",
]

CONTRACT_VERSION = 1
"""Raised when a field changes its meaning; a reader refuses what is newer than itself."""

TRUNCATION_POLICIES = ("longest_first",)


@dataclass(frozen=True)
class ActivationSpec:
    """An activation as data: the name of a ``torch.nn`` class and its arguments.

    Attributes:
        name: Class name such as ``"Sigmoid"`` or ``"LeakyReLU"``.
        parameters: Constructor arguments; empty for the class's defaults.
    """

    name: str
    parameters: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoringContract:
    """How a pair of texts becomes a score, apart from the weights.

    Attributes:
        activation: Applied to the raw logits; None leaves the choice to the number of labels
            (Sigmoid for one label, Identity for more).
        max_length: Most tokens per pair, special tokens included; None if the folder names none.
        prompts: Prompt name -> text that is put before the query.
        default_prompt_name: The prompt used when a call names none; None for no prompt.
        truncation: Which side of a long pair loses tokens; ``"longest_first"``.
        fusion: How to mix in first-stage scores: ``{"weight": α, "normalisation": name, ...}``.
        calibration: Maps scores to probabilities; None for a model that was not calibrated.
        version: Version of these fields.
    """

    activation: ActivationSpec | None = None
    max_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    truncation: str = "longest_first"
    fusion: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    version: int = CONTRACT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the reverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "contract") -> ScoringContract:
        """Checks every field; keys it does not know are ignored.

        Args:
            values: What `to_dict` wrote.
            source: The file, for messages.

        Raises:
            ConfigError: A field of the wrong type or value, or a newer version.
        """
        version = _checked(values, "version", int, source, default=CONTRACT_VERSION)
        if version > CONTRACT_VERSION:
            raise ConfigError(
                f"{source}: 'version' is {version}; this release reads up to {CONTRACT_VERSION}. "
                "Upgrade with: pip install --upgrade rankwright"
            )
        max_length = _checked(values, "max_length", int, source)
        if max_length is not None and max_length < 1:
            raise ConfigError(f"{source}: 'max_length' is {max_length}; expected at least 1.")
        truncation = _checked(values, "truncation", str, source, default="longest_first")
        if truncation not in TRUNCATION_POLICIES:
            raise ConfigError(
                f"{source}: 'truncation' is {truncation!r}; expected one of {TRUNCATION_POLICIES}."
            )
        prompts = checked_prompts(values.get("prompts"), source)
        default = _checked(values, "default_prompt_name", str, source)
        if default is not None and default not in prompts:
            raise ConfigError(
                f"{source}: 'default_prompt_name' is {default!r}, which is not one of the "
                f"prompts {sorted(prompts)}."
            )
        return cls(
            activation=_activation(values.get("activation"), source),
            max_length=max_length,
            prompts=prompts,
            default_prompt_name=default,
            truncation=truncation,
            fusion=_checked(values, "fusion", dict, source),
            calibration=_checked(values, "calibration", dict, source),
            version=version,
        )


def _checked(
    values: Mapping[str, Any], key: str, kind: type, source: str, default: Any = None
) -> Any:
    value = values.get(key)
    if value is None:
        return default
    # bool is an int to Python, but never a length or a version.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(
            f"{source}: '{key}' is {value!r} ({type(value).__name__}); expected {kind.__name__}."
        )
    return value


def checked_prompts(value: Any, source: str) -> dict[str, str]:
    """Prompts as a plain dict of strings; None counts as no prompts.

    Raises:
        ConfigError: Not a mapping from names to texts.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{source}: 'prompts' is {value!r}; expected names mapped to texts.")
    # Sentence Transformers writes null for a prompt that exists by name only.
    prompts = {name: text for name, text in value.items() if text is not None}
    for name, text in prompts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ConfigError(f"{source}: prompt {name!r} is {text!r}; expected a string.")
    return prompts


def _activation(value: Any, source: str) -> ActivationSpec | None:
    if value is None:
        return None
    parameters = value.get("parameters", {}) if isinstance(value, Mapping) else None
    if parameters is None or not isinstance(value.get("name"), str):
        raise ConfigError(
            f"{source}: 'activation' is {value!r}; "
            'expected {"name": "Sigmoid", "parameters": {}} or null.'
        )
    if not isinstance(parameters, Mapping) or not all(
        p is None or isinstance(p, (int, float, str)) for p in parameters.values()
    ):
        raise ConfigError(
            f"{source}: the parameters of activation {value['name']!r} are {parameters!r}; "
            "expected names mapped to numbers, strings or null."
        )
    return ActivationSpec(value["name"], dict(parameters))


def choose_prompt(
    prompts: Mapping[str, str],
    default_prompt_name: str | None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> str:
    """The text to put before queries: ``prompt`` itself, else the named one, else the default's.

    Raises:
        InputTypeError: A prompt or a name that is no string.
        InputError: No prompt has that name.
    """
    for argument, value in (("prompt", prompt), ("prompt_name", prompt_name)):
        if value is not None and not isinstance(value, str):
            raise InputTypeError(
                f"{argument} is {value!r} ({type(value).__name__}); expected a string. "
                "Options such as batch_size must be passed by name."
            )
    if prompt is not None:
        return prompt
    name = default_prompt_name if prompt_name is None else prompt_name
    if name is None:
        return ""
    if name not in prompts:
        raise InputError(
            f"No prompt is named {name!r}; this model has {sorted(prompts) or 'none'}. "
            "Use one of these, or pass the text itself as prompt=..."
        )
    return prompts[name]
