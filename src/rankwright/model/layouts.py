"""In which shapes a model folder may come, and what each says about scoring.

Every layout is tried in turn. The first that fits names the folder; the ones after it only fill in
what it leaves open. That gives the precedence: ``rankwright.json``, then
``config_sentence_transformers.json``, then the key of version 4 in ``config.json``, then that of
version 3, then nothing but transformers' own files. Only JSON is read here, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rankwright.errors import ConfigError, ModelError
from rankwright.model.chat_files import ChatFiles, read_chat_files
from rankwright.model.contract import ActivationSpec, ScoringContract, checked_prompts
from rankwright.model.folder import ModelFolder
from rankwright.model.limits import default_max_length
from rankwright.model.modules import transformer_folder
from rankwright.model.names import spec_from_name
from rankwright.model.weights import find_weights

__all__ = [
    "LAYOUTS",
    "RANKWRIGHT_FILE",
    "Layout",
    "LoadedLayout",
    "read_contract",
    "read_layout",
]

RANKWRIGHT_FILE = "rankwright.json"
PEER_FILE = "config_sentence_transformers.json"
HEAD = "ForSequenceClassification"
_ENCODERS = frozenset(
    "bert camembert data2vec-text electra ernie modernbert roberta roberta-prelayernorm "
    "xlm-roberta xlm-roberta-xl xmod".split()
)


@dataclass(frozen=True)
class LoadedLayout:
    """What a folder says.

    Attributes:
        name: Which layout it is.
        folder: Where ``config.json``, the weights and the tokenizer lie; a sub-folder in some
            embedding models.
        contract: How pairs are scored; ``max_length`` is filled in.
        num_labels: Outputs of the classification head; None if there is no head.
        weights: The weight files, checked to be whole.
        notes: What is worth telling the user.
        causal: Whether it is a language model without a classification head.
        chat: How a language model reads pairs.
    """

    name: str
    folder: Path
    contract: ScoringContract
    num_labels: int | None
    weights: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    causal: bool = False
    chat: ChatFiles = field(default_factory=ChatFiles)


@dataclass(frozen=True)
class _Files:
    """The JSON files that layouts look at; empty where missing."""

    rankwright: Mapping[str, Any]
    peer: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Partial:
    """What one layout knows: some fields of the contract, and notes."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One shape of folder.

    Attributes:
        name: For messages.
        read: What the folder's files say in this layout; None if it is not of this layout.
    """

    name: str
    read: Callable[[_Files], Partial | None]


def _read_rankwright(files: _Files) -> Partial | None:
    if not files.rankwright:
        return None
    values = files.rankwright.get("contract")
    if not isinstance(values, dict):
        raise ConfigError(f"{RANKWRIGHT_FILE}: 'contract' is {values!r}; expected a JSON object.")
    contract = ScoringContract.from_dict(values, RANKWRIGHT_FILE)
    known = _read_peer(files)
    if known is not None and known.fields and _disagree(contract, known.fields):
        # Both files are always written together, so another program rewrote one of them since.
        note = (
            f"{RANKWRIGHT_FILE} and {PEER_FILE} disagree: another program saved over this folder. "
            f"{PEER_FILE} is followed; save the model again to make them agree."
        )
        return Partial(notes=(note,))
    named = {name: getattr(contract, name) for name in contract.__dataclass_fields__}
    return Partial({name: value for name, value in named.items() if value is not None})


def _disagree(contract: ScoringContract, peer: Mapping[str, Any]) -> bool:
    own, other = contract.activation, peer.get("activation")
    return (
        (own is not None and other is not None and own.name != other.name)
        or dict(contract.prompts) != peer.get("prompts", {})
        or contract.default_prompt_name != peer.get("default_prompt_name")
    )


def _read_peer(files: _Files) -> Partial | None:
    if files.peer.get("model_type") != "CrossEncoder":
        return None  # the prompts of an embedding model are not those of a reranker
    prompts = checked_prompts(files.peer.get("prompts"), PEER_FILE)
    default = files.peer.get("default_prompt_name")
    fields: dict[str, Any] = {"prompts": prompts}
    if default is not None:
        if default not in prompts:
            raise ConfigError(
                f"{PEER_FILE}: 'default_prompt_name' is {default!r}, which is not one of the "
                f"prompts {sorted(prompts)}."
            )
        fields["default_prompt_name"] = default
    return Partial(fields | _activation(files.peer.get("activation_fn"), PEER_FILE))


def _read_version_4(files: _Files) -> Partial | None:
    value = files.config.get("sentence_transformers")
    if not isinstance(value, dict):
        return None
    return Partial(_activation(value.get("activation_fn"), "config.json: sentence_transformers"))


def _read_version_3(files: _Files) -> Partial | None:
    key = "sbert_ce_default_activation_function"
    if key not in files.config:
        return None
    return Partial(_activation(files.config[key], f"config.json: {key}"))


def _read_plain(files: _Files) -> Partial | None:
    return Partial()


def _activation(path: Any, source: str) -> dict[str, ActivationSpec]:
    if path is None:
        return {}
    if not isinstance(path, str):
        raise ConfigError(f"{source}: the activation is {path!r}; expected the name of a class.")
    return {"activation": spec_from_name(path)}


LAYOUTS = (
    Layout("Rankwright", _read_rankwright),
    Layout("Sentence Transformers 5.4 or later", _read_peer),
    Layout("Sentence Transformers 4.0 to 5.3", _read_version_4),
    Layout("Sentence Transformers 3 or earlier", _read_version_3),
    Layout("transformers", _read_plain),
)


def read_layout(path: str | Path, need_weights: bool = True) -> LoadedLayout:
    """Reads and checks everything about a folder but the tensors themselves.

    Args:
        path: The folder.
        need_weights: Whether safetensors must be there; exported models run without them.

    Raises:
        ModelNotFoundError: No such folder.
        ConfigError: A missing or malformed JSON file.
        WeightsError: Missing, truncated or corrupt weights.
        UnsafeModelError: Only pickles, or a path that leads outside the folder.
        ModelError: A kind of model that is no cross-encoder and cannot become one.
    """
    root = ModelFolder(Path(path))
    peer = root.json_object(PEER_FILE)
    folder = transformer_folder(root, is_cross_encoder=peer.get("model_type") == "CrossEncoder")
    config = _model_config(folder)
    name, contract, notes = _contract(root, folder, config)
    chat = read_chat_files(root, folder)
    if chat.tokens is not None and not _is_causal(config):
        raise ModelError(
            f"{root.path} is scored by the logits of two tokens, says its modules.json, but its "
            f"model ({config.get('architectures')}) has none. Its files belong to different models."
        )
    return LoadedLayout(
        name=name,
        folder=folder.path,
        contract=contract,
        num_labels=_num_labels(config),
        weights=find_weights(folder) if need_weights else (),
        notes=tuple(notes),
        causal=_is_causal(config),
        chat=chat,
    )


def read_contract(path: str | Path) -> ScoringContract:
    """How a folder says pairs are scored, whatever weights are in it.

    Raises:
        ModelNotFoundError, ConfigError: As in `read_layout`.
    """
    root = ModelFolder(Path(path))
    return _contract(root, root, _model_config(root))[1]


def _contract(
    root: ModelFolder, folder: ModelFolder, config: Mapping[str, Any]
) -> tuple[str, ScoringContract, list[str]]:
    """Name of the layout, the contract, and notes."""
    files = _Files(root.json_object(RANKWRIGHT_FILE), root.json_object(PEER_FILE), config)
    names: list[str] = []
    fields: dict[str, Any] = {}
    notes: list[str] = []
    for layout in LAYOUTS:
        partial = layout.read(files)
        if partial is not None:
            names.append(layout.name)
            fields = {**partial.fields, **fields}
            notes += partial.notes
    contract = ScoringContract(**fields)
    if contract.max_length is None:
        tokenizer = folder.json_object("tokenizer_config.json").get("model_max_length")
        contract = replace(contract, max_length=default_max_length(tokenizer, config))
    return names[0], contract, notes


def _model_config(folder: ModelFolder) -> Mapping[str, Any]:
    config = folder.json_object("config.json")
    if not config:
        found = sorted(file.name for file in folder.path.iterdir())[:20]
        raise ConfigError(
            f"{folder.path} has no config.json, or an empty one; it has {found or 'no files'}. "
            "Expected a model folder as save_pretrained writes it."
        )
    if _is_causal(config) and config.get("model_type") in _ENCODERS:
        raise ModelError(
            f"{folder.path} is an encoder ({config['model_type']}) that was turned into a causal "
            f"language model ({config['architectures'][0]}). Use the encoder itself, or a language "
            "model that was made as one, such as Qwen, Llama, Mistral or Gemma."
        )
    return config


def _is_causal(config: Mapping[str, Any]) -> bool:
    kinds = ("ForCausalLM", "LMHeadModel")
    return any(str(name).endswith(kinds) for name in config.get("architectures") or [])


def _num_labels(config: Mapping[str, Any]) -> int | None:
    if not any(str(name).endswith(HEAD) for name in config.get("architectures") or []):
        return None
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    return int(config.get("num_labels") or 2)  # 2 is what transformers assumes
