"""What a folder's files say about how a language model reads pairs, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import ConfigError
from rankwright.model.folder import ModelFolder
from rankwright.model.modules import MODULES_FILE, logit_score_folder

__all__ = ["ChatFiles", "chat_files", "read_chat_files"]

TRANSFORMER_FILE = "sentence_bert_config.json"
_FOLDER = "1_LogitScore"
_CONFIG = "config.json"
_TYPES = "sentence_transformers"
_LOGITS = "causal_logits"


@dataclass(frozen=True)
class ChatFiles:
    """How pairs are put to a model and how its answer is read, as far as files say so.

    Attributes:
        tokens: What a language model is scored by; None if nothing names them.
        messages: Whether pairs go through the chat template; None if nothing says.
        options: Arguments for rendering the chat template.
    """

    tokens: TwoTokens | None = None
    messages: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_chat_files(root: ModelFolder, transformer: ModelFolder) -> ChatFiles:
    """Reads ``sentence_bert_config.json`` and the part of the model that scores by tokens.

    Args:
        root: The model folder.
        transformer: Where its transformer lies.

    Raises:
        ConfigError: A malformed file.
        UnsafeModelError: A path that leads outside the folder.
    """
    content = transformer.json_object(TRANSFORMER_FILE)
    modalities = content.get("modality_config")
    messages = "message" in modalities if isinstance(modalities, Mapping) else None
    processing = content.get("processing_kwargs") or {}
    options = processing.get("chat_template") if isinstance(processing, Mapping) else None
    if not isinstance(options, Mapping):
        options = {}
    known = {k: v for k, v in options.items() if isinstance(v, (str, int, float, type(None)))}
    folder = logit_score_folder(root)
    return ChatFiles(None if folder is None else _tokens(folder), messages, known)


def _tokens(folder: ModelFolder) -> TwoTokens:
    content = folder.json_object(_CONFIG)
    ids = [content.get("true_token_id"), content.get("false_token_id")]
    where = folder.path / _CONFIG
    for name, value, optional in zip(("true", "false"), ids, (False, True), strict=True):
        if optional and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"{where}: '{name}_token_id' is {value!r}; expected a token id.")
    name = content.get("module_input_name", _LOGITS)
    if name != _LOGITS:
        raise ConfigError(
            f"{where}: 'module_input_name' is {name!r}; only scores from {_LOGITS!r}, the logits "
            "of the last token, are supported."
        )
    assert isinstance(ids[0], int)
    return TwoTokens(ids[0], ids[1])


def chat_files(tokens: TwoTokens | None, messages: bool) -> dict[str, Any]:
    """The files from which Sentence Transformers learns how pairs are scored.

    Args:
        tokens: What the model is scored by; None for one with a classification head.
        messages: Whether pairs go through the chat template.

    Returns:
        File name -> JSON content.
    """
    transformer = f"{_TYPES}.base.modules.transformer.Transformer"
    modules = [{"idx": 0, "name": "0", "path": "", "type": transformer}]
    output = {"method": "forward", "method_output_name": "logits"}
    modalities = {"text": output}
    if messages:
        modalities["message"] = {**output, "format": "flat"}
    files: dict[str, Any] = {
        MODULES_FILE: modules,
        TRANSFORMER_FILE: {
            "transformer_task": "sequence-classification",
            "modality_config": modalities,
            "module_output_name": "scores",
        },
    }
    if tokens is not None:
        kind = f"{_TYPES}.cross_encoder.modules.logit_score.LogitScore"
        modules.append({"idx": 1, "name": "1", "path": _FOLDER, "type": kind})
        files[TRANSFORMER_FILE] |= {
            "transformer_task": "text-generation",
            "module_output_name": _LOGITS,
        }
        files[f"{_FOLDER}/{_CONFIG}"] = {
            "true_token_id": tokens.true_id,
            "false_token_id": tokens.false_id,
            "module_input_name": _LOGITS,
        }
    return files
