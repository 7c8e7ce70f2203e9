"""An adapter folder to a transformers model: the base model first, then the adapter on it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from rankwright.errors import ModelError, ModelNotFoundError
from rankwright.model.adapter_files import (
    AdapterFolder,
    insert_adapter,
    is_adapter_folder,
    read_adapter,
)
from rankwright.model.adapters import head_modules
from rankwright.model.chat_files import read_chat_files
from rankwright.model.folder import ModelFolder
from rankwright.model.hub import HubOptions, local_folder
from rankwright.model.layouts import read_contract
from rankwright.model.loading import Loaded, LoadOptions, load_folder, load_tokenizer

__all__ = ["load_adapted"]

logger = logging.getLogger(__name__)


def load_adapted(
    folder: Path, base_model: str | Path | None, options: LoadOptions, hub: HubOptions
) -> tuple[Loaded, str | Path]:
    """The base model with the adapter in it, ready to score and to be trained further.

    What the adapter's folder says about scoring and tokenising holds; where it says nothing, as
    folders that PEFT wrote by itself, what the base model's says.

    Args:
        folder: An adapter folder.
        base_model: The base model; None takes the one that the folder names.
        options: For loading the base model.
        hub: For finding the base model.

    Returns:
        The model, and the name of its base.

    Raises:
        ModelNotFoundError: The base model is not there.
        ModelError, ConfigError, WeightsError, UnsafeModelError: Folders that cannot be used.
    """
    adapter = read_adapter(folder)
    name = adapter.base if base_model is None else base_model
    if name is None:
        raise ModelError(
            f"{folder} is an adapter and does not say for which model. "
            "Pass base_model=, the folder or name of the model it was trained on."
        )
    causal = options.causal if options.causal is not None else adapter.causal
    options = replace(options, causal=causal)
    loaded = load_folder(
        _find(name, folder, hub if base_model is not None else replace(hub, revision=None)),
        replace(options, num_labels=options.num_labels or adapter.num_labels, head_follows=True),
    )
    tensors = insert_adapter(loaded.model, adapter, "default", trainable=True)
    loaded.model.eval()
    new_head = loaded.new_head and not _brings_head(loaded, tensors)
    if new_head:
        logger.warning(
            "Neither the adapter %s nor its base model %s has a trained classification head: the "
            "scores are random until the model is trained.",
            *(folder, name),
        )
    return _described(replace(loaded, new_head=new_head), adapter, options), name


def _find(name: str | Path, folder: Path, hub: HubOptions) -> Path:
    try:
        found = local_folder(name, hub)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{folder} is an adapter for the model {str(name)!r}, which cannot be found: {error} "
            "Pass base_model=, the folder or name of that model."
        ) from error
    if is_adapter_folder(found):
        raise ModelError(
            f"{folder} is an adapter for {found}, which is an adapter itself. Load that one, "
            "merge_and_unload it, save it, and pass its folder as base_model."
        )
    return found


def _brings_head(loaded: Loaded, tensors: set[str]) -> bool:
    return all(
        any(name in key.split(".") for key in tensors) for name in head_modules(loaded.model)
    )


def _described(loaded: Loaded, adapter: AdapterFolder, options: LoadOptions) -> Loaded:
    layout = replace(loaded.layout, folder=adapter.path)
    if adapter.has_contract:
        files = ModelFolder(adapter.path)
        layout = replace(
            layout,
            contract=read_contract(adapter.path),
            chat=read_chat_files(files, files),
        )
    loaded = replace(loaded, layout=layout)
    if adapter.has_tokenizer:
        loaded = replace(loaded, tokenizer=load_tokenizer(layout, options))
    return loaded
