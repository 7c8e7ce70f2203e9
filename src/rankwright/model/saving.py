"""A model to a folder that this library, Sentence Transformers and transformers all read."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rankwright.data.atomic import atomic_folder
from rankwright.engine.adapters import adapter_configs
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError, SaveError
from rankwright.model.activations import class_path
from rankwright.model.adapter_files import write_adapter
from rankwright.model.card.files import CARD_FILE, GENERATED_FILE, Card, write_card
from rankwright.model.card.plots import CURVES_FILE, GAINS_FILE
from rankwright.model.chat import Templates, chat_template_of
from rankwright.model.chat_files import chat_files
from rankwright.model.contract import ActivationSpec, ScoringContract
from rankwright.model.layouts import PEER_FILE, RANKWRIGHT_FILE
from rankwright.model.names import ACTIVATION_PARAMETERS
from rankwright.model.quiet import quiet_transformers

__all__ = ["Saved", "package_versions", "save_folder"]

logger = logging.getLogger(__name__)

# The first releases that read each layout: a later number would make earlier ones warn.
_READS_MODULES = "5.4.0"
_READS_CONFIG_KEY = "4.0.0"
_VERSION_3_KEY = "sbert_ce_default_activation_function"

# What an earlier model in the same folder may have left and readers would mix with the new one.
_STALE = (
    "model*.safetensors",
    "adapter_config.json",
    "adapter_model.*",
    "model.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "1_LogitScore/config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
# And these, where a new card has taken the place of the one that they belonged to.
_STALE_WITH_CARD = (CURVES_FILE, GAINS_FILE, GENERATED_FILE)


@dataclass(frozen=True)
class Saved:
    """What goes into a folder.

    Attributes:
        model: The transformers model.
        tokenizer: Its tokenizer.
        contract: How pairs are scored; its activation is set.
        card: The model card; None for none.
        base: Folder or name of the base model, which an adapter needs to be loaded.
        tokens: What a causal language model is scored by; None for others.
        templates: How pairs are put to a language model; None for plain pairs.
    """

    model: Any
    tokenizer: Any
    contract: ScoringContract
    card: Card | None
    base: str | None = None
    tokens: TwoTokens | None = None
    templates: Templates | None = None


def package_versions(*packages: str) -> dict[str, str]:
    """Installed version by package; those not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_folder(path: str | Path, saved: Saved) -> None:
    """Writes everything to a temporary folder, then moves it into place.

    Other files in an existing folder are kept, except those of an earlier model or tokenizer that
    readers would mix up with the new ones.

    Raises:
        SaveError: The operating system refused; what stood at ``path`` is untouched.
    """
    target = Path(path).expanduser()
    try:
        with atomic_folder(target) as folder:
            _write(folder, saved)
            if saved.card is not None:
                write_card(saved.card, folder, target)
            written = {file.relative_to(folder).as_posix() for file in folder.rglob("*")}
    except SafetensorError as error:  # how safetensors reports a full disk
        raise SaveError(
            f"{path} was not saved: {error}. What stood there before is untouched. "
            "Free disk space, or name another place."
        ) from error
    patterns = (*_STALE, *(_STALE_WITH_CARD if CARD_FILE in written else ()))
    stale = {file for pattern in patterns for file in target.glob(pattern)}
    for file in sorted(stale):
        if file.relative_to(target).as_posix() not in written and file.is_file():
            logger.info("%s: removed, because it belonged to the model before.", file)
            file.unlink()


def _write(folder: Path, saved: Saved) -> None:
    activation = saved.contract.activation
    if activation is None:
        raise InputError("A contract must name its activation before it is saved.")
    with quiet_transformers():
        if adapter_configs(saved.model):
            write_adapter(folder, saved.model, saved.base)
        else:
            saved.model.save_pretrained(folder)
        _tokenizer_to_save(saved).save_pretrained(folder)
    _update(folder / "tokenizer_config.json", {"model_max_length": saved.contract.max_length})
    path = class_path(activation)
    key = {"activation_fn": path, "version": _READS_CONFIG_KEY}
    # Readers of version 4 look here and nowhere else; without it an Identity becomes a Sigmoid.
    _update(folder / "config.json", {"sentence_transformers": key}, drop=(_VERSION_3_KEY,))
    _dump(
        folder / PEER_FILE,
        {
            "__version__": {
                "sentence_transformers": _READS_MODULES,
                **{
                    name.replace("torch", "pytorch"): number
                    for name, number in package_versions("torch", "transformers").items()
                },
            },
            "activation_fn": path,
            "default_prompt_name": saved.contract.default_prompt_name,
            "model_type": "CrossEncoder",
            "prompts": dict(saved.contract.prompts),
        },
    )
    for name, content in chat_files(saved.tokens, saved.templates is not None).items():
        (folder / name).parent.mkdir(exist_ok=True)
        _dump(folder / name, content)
    versions = package_versions("rankwright")
    _dump(folder / RANKWRIGHT_FILE, {"versions": versions, "contract": saved.contract.to_dict()})
    _warn_about_parameters(activation)


def _tokenizer_to_save(saved: Saved) -> Any:
    """With a chat template that renders pairs as this model is scored with."""
    if saved.templates is None:
        return saved.tokenizer
    tokenizer = copy.deepcopy(saved.tokenizer)
    tokenizer.chat_template = chat_template_of(tokenizer, saved.templates)
    return tokenizer


def _warn_about_parameters(activation: ActivationSpec) -> None:
    from rankwright.model.activations import build_activation, describe_activation

    known = ACTIVATION_PARAMETERS[activation.name]
    usual = describe_activation(build_activation(ActivationSpec(activation.name))).parameters
    if any(activation.parameters.get(name, usual[name]) != usual[name] for name in known):
        logger.warning(
            "The activation %s(%s) is saved with its parameters in %s. Sentence Transformers reads "
            "only the name and would use its defaults.",
            activation.name,
            ", ".join(f"{name}={value}" for name, value in activation.parameters.items()),
            RANKWRIGHT_FILE,
        )


def _update(path: Path, values: Mapping[str, Any], drop: tuple[str, ...] = ()) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in content.items() if name not in drop}
    _dump(path, {**kept, **values})


def _dump(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=isinstance(value, dict), ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
