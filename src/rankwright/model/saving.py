"""A model to a folder that this library, Sentence Transformers and transformers all read."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rankwright.data.atomic import atomic_folder
from rankwright.errors import InputError, SaveError
from rankwright.model.activations import class_path
from rankwright.model.contract import ActivationSpec, ScoringContract
from rankwright.model.layouts import PEER_FILE, RANKWRIGHT_FILE
from rankwright.model.modules import MODULES_FILE
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
    "model.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)


@dataclass(frozen=True)
class Saved:
    """What goes into a folder.

    Attributes:
        model: The transformers model.
        tokenizer: Its tokenizer.
        contract: How pairs are scored; its activation is set.
        card: Text of README.md; None for no card.
    """

    model: Any
    tokenizer: Any
    contract: ScoringContract
    card: str | None


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
            written = {file.name for file in folder.iterdir()}
    except SafetensorError as error:  # how safetensors reports a full disk
        raise SaveError(
            f"{path} was not saved: {error}. What stood there before is untouched. "
            "Free disk space, or name another place."
        ) from error
    stale = {file for pattern in _STALE for file in target.glob(pattern)}
    for file in sorted(stale):
        if file.name not in written and file.is_file():
            logger.info("%s: removed, because it belonged to the model before.", file)
            file.unlink()


def _write(folder: Path, saved: Saved) -> None:
    activation = saved.contract.activation
    if activation is None:
        raise InputError("A contract must name its activation before it is saved.")
    with quiet_transformers():
        saved.model.save_pretrained(folder)
        saved.tokenizer.save_pretrained(folder)
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
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    _dump(folder / MODULES_FILE, [{"idx": 0, "name": "0", "path": "", "type": kind}])
    _dump(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "sequence-classification",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "scores",
        },
    )
    versions = package_versions("rankwright")
    _dump(folder / RANKWRIGHT_FILE, {"versions": versions, "contract": saved.contract.to_dict()})
    if saved.card is not None:
        (folder / "README.md").write_text(saved.card, encoding="utf-8")
    _warn_about_parameters(activation)


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
