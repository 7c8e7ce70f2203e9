"""Adapter folders, as PEFT writes and reads them: a few weights that go on top of a base model.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``; names in it begin with
``base_model.model.``. Format: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from rankwright.engine.adapters import adapter_configs, inner_model
from rankwright.errors import (
    ConfigError,
    InputError,
    MissingDependencyError,
    ModelError,
    UnsafeModelError,
    WeightsError,
)
from rankwright.model.adapter_layers import remove_empty_layers
from rankwright.model.folder import ModelFolder
from rankwright.model.weights import INDEX_FILE, WEIGHTS_FILE, read_header

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "AdapterFolder",
    "import_peft",
    "insert_adapter",
    "is_adapter_folder",
    "read_adapter",
    "restore_adapter",
    "several_adapters",
    "write_adapter",
]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterFolder:
    """A checked adapter folder.

    Attributes:
        path: The folder.
        base: Folder or hub name of the model it was trained on; None if it does not say.
        causal: Whether it goes on a language model scored by the logits of two tokens; None if
            it does not say.
        num_labels: Outputs of the trained head, from ``config.json``; None without that file.
        has_contract: Whether it also says how pairs are scored, as this library writes it.
        has_tokenizer: Whether it has a tokenizer.
    """

    path: Path
    base: str | None
    causal: bool | None
    num_labels: int | None
    has_contract: bool
    has_tokenizer: bool


def import_peft() -> Any:
    """The package ``peft``.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError.for_package("peft", "peft", "An adapter") from error
    return peft


@contextlib.contextmanager
def several_adapters() -> Iterator[None]:
    """A second adapter is put into the model on purpose; PEFT warns of it each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        yield


def is_adapter_folder(path: str | Path) -> bool:
    """Whether a folder holds an adapter rather than a model.

    Raises:
        ModelError: It holds both, so that nobody can tell which one is meant.
    """
    folder = Path(path)
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    whole = [name for name in (WEIGHTS_FILE, INDEX_FILE) if (folder / name).is_file()]
    if whole:
        raise ModelError(
            f"{folder} holds both an adapter ({ADAPTER_CONFIG}) and a whole model ({whole[0]}). "
            f"Remove {ADAPTER_CONFIG} to use the model, or {whole[0]} to use the adapter."
        )
    return True


def read_adapter(path: str | Path) -> AdapterFolder:
    """Checks everything about an adapter folder but the tensors themselves.

    Raises:
        ModelNotFoundError: No such folder.
        ConfigError: A missing or malformed file.
        WeightsError: Missing, truncated or corrupt weights.
        UnsafeModelError: The weights are a pickle, or the file asks for a module to be imported.
    """
    folder = ModelFolder(Path(path))
    config = folder.json_object(ADAPTER_CONFIG)
    if not isinstance(config.get("peft_type"), str):
        raise ConfigError(
            f"{folder.path / ADAPTER_CONFIG}: is missing, or 'peft_type' does not name a method "
            'such as "LORA". Expected an adapter folder as PEFT\'s save_pretrained writes it.'
        )
    if config.get("megatron_config") is not None:
        raise UnsafeModelError(
            f"{folder.path / ADAPTER_CONFIG}: 'megatron_config' makes PEFT import a module that "
            "this file names. Adapters for Megatron are not loaded."
        )
    _check_weights(folder)
    base = config.get("base_model_name_or_path")
    model_config = folder.json_object("config.json")
    labels = model_config.get("id2label")
    return AdapterFolder(
        path=folder.path,
        base=_base(folder.path, base) if isinstance(base, str) and base else None,
        causal=_is_causal(config, model_config),
        num_labels=len(labels) if isinstance(labels, dict) and labels else None,
        has_contract=bool(model_config),
        has_tokenizer=folder.has("tokenizer_config.json"),
    )


def _is_causal(config: Mapping[str, Any], model_config: Mapping[str, Any]) -> bool | None:
    architectures = model_config.get("architectures") or []
    if architectures:
        return not any(str(name).endswith("ForSequenceClassification") for name in architectures)
    return False if config.get("task_type") == "SEQ_CLS" else None


def _base(folder: Path, name: str) -> str:
    beside = folder / name
    return str(beside) if not Path(name).is_dir() and beside.is_dir() else name


def _check_weights(folder: ModelFolder) -> None:
    if folder.has(ADAPTER_WEIGHTS):
        read_header(folder.path / ADAPTER_WEIGHTS)
        return
    if folder.has("adapter_model.bin"):
        raise UnsafeModelError(
            f"{folder.path} has its weights only as a pickle (adapter_model.bin), which could run "
            "any code when opened. If you trust its author, load it with PEFT where it can do no "
            f"harm and save it again, which writes {ADAPTER_WEIGHTS}."
        )
    raise WeightsError(f"{folder.path} has no {ADAPTER_WEIGHTS}. Copy the adapter again.")


def insert_adapter(model: Any, adapter: AdapterFolder, name: str, *, trainable: bool) -> set[str]:
    """Puts a saved adapter into a transformers model, in place, and makes it the active one.

    Args:
        model: A transformers model.
        adapter: From `read_adapter`.
        name: What to call it.
        trainable: Whether its weights may be trained further.

    Returns:
        The names of the tensors that were loaded.

    Raises:
        InputError: There is an adapter of that name.
        WeightsError: The adapter does not fit the model.
    """
    peft = import_peft()
    if name in adapter_configs(model):
        raise InputError(f"The model has an adapter {name!r} already; pass another adapter_name.")
    config = peft.PeftConfig.from_pretrained(str(adapter.path))
    config.inference_mode = not trainable
    trained = {key: parameter.requires_grad for key, parameter in model.named_parameters()}
    try:
        with several_adapters():
            peft.inject_adapter_in_model(config, model, name)
        model._hf_peft_config_loaded = True
        loaded = _load(model, adapter.path, name)
    except (ValueError, RuntimeError) as error:
        if name in adapter_configs(model):
            model._hf_peft_config_loaded = True
            model.delete_adapter(name)
        if remove_empty_layers(model):
            for key, parameter in model.named_parameters():
                parameter.requires_grad_(trained[key])
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{adapter.path}: this adapter does not fit {type(model).__name__}: {error}. Load it "
            "on the base model it was trained on, with the same num_labels."
        ) from error
    model.set_adapter(name)
    if not trainable:
        for key, parameter in model.named_parameters():
            if f".{name}." in key:
                parameter.requires_grad_(False)
    return loaded


def restore_adapter(model: Any, path: str | Path) -> None:
    """Copies the weights of a checkpoint into the active adapter, in place.

    Raises:
        WeightsError: The model has no adapter, or another one.
    """
    inner = inner_model(model)
    if not adapter_configs(inner):
        raise WeightsError(
            f"{path} holds an adapter, but this model has none. Give the trainer the same "
            "peft_config, or call add_adapter, as in the run that wrote it."
        )
    _load(inner, Path(path), _active(model))


def _load(model: Any, folder: Path, name: str) -> set[str]:
    from peft import set_peft_model_state_dict

    saved = {k.removeprefix(_PREFIX): v for k, v in load_file(folder / ADAPTER_WEIGHTS).items()}
    expected = adapter_state(model, name)
    different = sorted(expected.keys() ^ saved.keys())
    if different:
        where = "in the file only" if different[0] in saved else "missing from the file"
        raise WeightsError(
            f"{folder / ADAPTER_WEIGHTS}: the tensors are not those of this model's adapter: "
            f"{different[0]} is {where}. It belongs to another base model or configuration."
        )
    for key, value in saved.items():
        if value.shape != expected[key].shape:
            raise WeightsError(
                f"{folder / ADAPTER_WEIGHTS}: {key} is {tuple(value.shape)}, but this model needs "
                f"{tuple(expected[key].shape)}. It belongs to another base model or num_labels."
            )
    set_peft_model_state_dict(model, saved, name)
    return set(saved)


def adapter_state(model: Any, name: str) -> dict[str, Tensor]:
    """The tensors of one adapter, the trained head included, without any prefix."""
    from peft import get_peft_model_state_dict

    state: Mapping[str, Tensor] = get_peft_model_state_dict(
        model, adapter_name=name, save_embedding_layers=False
    )
    return dict(state)


def write_adapter(folder: Path, model: Any, base: str | None) -> None:
    """Writes the active adapter and ``config.json``, so that the folder says its labels.

    Args:
        folder: An existing folder.
        model: A model with an adapter.
        base: What to call the base model; None leaves PEFT's own entry.

    Raises:
        InputError: Several adapters are active.
    """
    name = _active(model)
    inner = inner_model(model)
    config = copy.deepcopy(adapter_configs(inner)[name])
    config.inference_mode = True  # what readers without further training expect
    if base is not None:
        config.base_model_name_or_path = base
    config.save_pretrained(str(folder))
    state = adapter_state(inner, name)
    tensors = {_PREFIX + k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    values = inner.config.to_dict() | {"architectures": [type(inner).__name__]}
    text = json.dumps(values, indent=2, sort_keys=True, default=str)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _active(model: Any) -> str:
    inner = inner_model(model)
    inner._hf_peft_config_loaded = True  # a PeftModel around it does not say so
    names = list(inner.active_adapters())
    if len(names) != 1:
        raise InputError(
            f"{len(names)} adapters are active ({', '.join(names)}); a folder holds one. Choose "
            "it with set_adapter, or merge them with merge_and_unload."
        )
    return str(names[0])
