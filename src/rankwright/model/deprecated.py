"""Argument names of earlier Sentence Transformers releases, mapped to today's with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from rankwright.errors import InputError, InputTypeError

__all__ = ["CONSTRUCTOR_NAMES", "PREDICT_NAMES", "RANK_NAMES", "renamed"]

CONSTRUCTOR_NAMES: dict[str, str | None] = {
    "model_name": "model_name_or_path",
    "automodel_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "tokenizer_kwargs": "processor_kwargs",
    "config_args": "config_kwargs",
    "cache_dir": "cache_folder",
    "default_activation_function": "activation_fn",
    "classifier_dropout": "config_kwargs",
}
PREDICT_NAMES: dict[str, str | None] = {
    "sentences": "inputs",
    "activation_fct": "activation_fn",
    "num_workers": None,
    "processing_kwargs": "max_length",
}
RANK_NAMES: dict[str, str | None] = {
    "activation_fct": "activation_fn",
    "apply_softmax": None,
    "convert_to_numpy": None,
    "convert_to_tensor": None,
    "num_workers": None,
}


def renamed(
    function: str,
    given: Mapping[str, Any],
    table: Mapping[str, str | None],
    current: Mapping[str, Any],
) -> dict[str, Any]:
    """Today's arguments for yesterday's names; a name without a successor is dropped.

    Warnings name the line that called the caller of this function.

    Args:
        function: What was called, for messages.
        given: The arguments under their old names.
        table: Old name -> new name, or None for an option that has no effect any more.
        current: New name -> value for the arguments that the caller passed under new names, in
            the order in which they are to come back.

    Returns:
        ``current`` with the values that were given under old names.

    Raises:
        InputTypeError: A name that was never an argument, or both names of one argument.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in table:
            raise InputTypeError(f"{function} has no argument {name!r}.")
        new = table[name]
        advice = "has no effect and can be left out" if new is None else f"is now {new}"
        warnings.warn(f"{function}: {name} {advice}.", FutureWarning, stacklevel=3)
        if new is None:
            continue
        if current.get(new) is not None or new in found:
            raise InputTypeError(f"{function} got both {name} and {new}; pass only {new}.")
        found[new] = _converted(name, value)
    return {**current, **found}


def _converted(name: str, value: Any) -> Any:
    if name == "classifier_dropout":
        return {"classifier_dropout": value}
    if name == "processing_kwargs":
        text = {**value.get("common", {}), **value.get("text", {})}
        if set(value) - {"common", "text"} or set(text) - {"max_length", "padding", "truncation"}:
            raise InputError(
                f"processing_kwargs is {value!r}; only max_length can be set per call."
            )
        return text.get("max_length")
    return value
