"""Putting saved weights back into a model that is being trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from rankwright.errors import WeightsError
from rankwright.model.adapter_files import is_adapter_folder, restore_adapter

__all__ = ["load_weights"]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def load_weights(model: Any, folder: str | Path) -> None:
    """Copies the weights in ``folder`` into ``model``, in place.

    Args:
        model: A transformers model of the architecture that was saved, or with the adapter that
            was saved.
        folder: What ``save_pretrained`` wrote.

    Raises:
        WeightsError: There are no weights, or they do not fit.
    """
    folder = Path(folder)
    if is_adapter_folder(folder):
        restore_adapter(model, folder)
        return
    state = _read(folder)
    expected = model.state_dict()
    if state.keys() - expected.keys() or _missing(model, expected, state):
        # Some architectures are written under other names than their modules have;
        # transformers knows how to translate them.
        state = type(model).from_pretrained(folder, dtype=model.dtype).state_dict()
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{folder}: the weights do not fit this model. {error}") from error
    if result.unexpected_keys or _missing(model, expected, state):
        names = ", ".join([*result.missing_keys, *result.unexpected_keys][:5])
        raise WeightsError(f"{folder}: the weights are not those of this model: {names}.")


def _missing(model: Any, expected: dict[str, Tensor], state: dict[str, Tensor]) -> set[str]:
    """Names that are not saved, except those tied to a tensor that is."""
    there = {expected[name].data_ptr() for name in expected.keys() & state.keys()}
    return {n for n in expected.keys() - state.keys() if expected[n].data_ptr() not in there}


def _read(folder: Path) -> dict[str, Tensor]:
    if (folder / _SINGLE).is_file():
        return dict(load_file(folder / _SINGLE))
    if not (folder / _INDEX).is_file():
        raise WeightsError(f"{folder} has neither {_SINGLE} nor {_INDEX}.")
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    state: dict[str, Tensor] = {}
    for shard in sorted(set(index["weight_map"].values())):
        if Path(shard).name != shard:
            raise WeightsError(f"{folder / _INDEX} names a file outside the folder: {shard}")
        state.update(load_file(folder / shard))
    return state
