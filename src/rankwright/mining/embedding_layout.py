"""What the folder of an embedding model says: its transformer, pooling, limits and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwright.errors import ConfigError, ModelError, UnsafeModelError
from rankwright.model.folder import ModelFolder

__all__ = ["POOLING_MODES", "EmbeddingLayout", "read_embedding_layout"]

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "lasttoken")
# Up to version 5.3 of Sentence Transformers there was one switch per mode.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class EmbeddingLayout:
    """An embedding model's folder, read and checked.

    Attributes:
        transformer: Where config.json and the weights are; for static embeddings, the tokenizer
            and the weights.
        pooling: One or several of `POOLING_MODES`; several are joined end to end.
        normalize: Whether the model brings embeddings to length 1.
        max_length: Tokens per text, where the folder says.
        lower_case: Whether texts are lower-cased first.
        prompts: Prompt name -> text put before each text.
        default_prompt_name: Which of them is used where none is asked for.
        static: Whether it is a table of token vectors (StaticEmbedding), without a transformer.
    """

    transformer: ModelFolder
    pooling: tuple[str, ...]
    normalize: bool
    max_length: int | None
    lower_case: bool
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    static: bool = False


def read_embedding_layout(root: ModelFolder) -> EmbeddingLayout:
    """Reads a folder of Sentence Transformers, or a plain one of transformers (mean pooling).

    Raises:
        ConfigError: A JSON file is malformed.
        UnsafeModelError: modules.json asks for foreign code or a path outside the folder.
        ModelError: Parts other than Transformer or StaticEmbedding, Pooling and Normalize, or an
            unknown pooling.
    """
    modules = _modules(root)
    transformer, normalize = root, False
    pooling: tuple[str, ...] = ("mean",)
    prompts = _object(root, "config_sentence_transformers.json")
    named = {str(name): str(text) for name, text in (prompts.get("prompts") or {}).items()}
    for kind, folder in modules:
        if kind in ("Transformer", "StaticEmbedding"):
            transformer = folder
        elif kind == "Pooling":
            pooling = _pooling(folder, any(named.values()))
        else:
            normalize = True
    settings = _object(transformer, "sentence_bert_config.json")
    return EmbeddingLayout(
        transformer=transformer,
        pooling=pooling,
        normalize=normalize,
        max_length=settings.get("max_seq_length"),
        lower_case=bool(settings.get("do_lower_case")),
        prompts=named,
        default_prompt_name=prompts.get("default_prompt_name"),
        static=modules[0][0] == "StaticEmbedding",
    )


def _modules(root: ModelFolder) -> list[tuple[str, ModelFolder]]:
    entries = root.json("modules.json")
    if entries is None:
        return [("Transformer", root)]
    where = root.path / "modules.json"
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{where}: expected a list of parts.")
    parts = []
    for entry in entries:
        kind = str(entry.get("type"))
        if not kind.startswith("sentence_transformers."):
            raise UnsafeModelError(
                f"{where} names {kind!r}, which is code from outside Sentence Transformers and is "
                "never run here."
            )
        name, path = kind.rsplit(".", 1)[-1], str(entry.get("path") or "")
        # A Normalize part has nothing to store, and copies of a folder often lose empty folders.
        parts.append((name, root if name == "Normalize" else root.sub(path, "modules.json")))
    names = [name for name, _ in parts]
    known = names[:-1] if names[-1:] == ["Normalize"] else names
    if known not in (["Transformer", "Pooling"], ["StaticEmbedding"]):
        raise ModelError(
            f"{where} lists the parts {names}; only Transformer and Pooling, or StaticEmbedding, "
            "perhaps with Normalize after them, are run here. Load the model with "
            "sentence_transformers.SentenceTransformer and pass that object instead."
        )
    return parts


def _pooling(folder: ModelFolder, has_prompts: bool) -> tuple[str, ...]:
    config = _object(folder, "config.json")
    where = folder.path / "config.json"
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for switch, mode in _SWITCHES.items() if config.get(switch)]
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        raise ModelError(
            f"{where}: pooling {unknown or 'none'} is not supported; expected some of "
            f"{', '.join(POOLING_MODES)}."
        )
    if has_prompts and config.get("include_prompt") is False:
        raise ModelError(
            f"{where}: include_prompt is false, which leaves prompts out of the pooling and is "
            "not supported. Pass a SentenceTransformer object instead."
        )
    return modes


def _object(folder: ModelFolder, name: str) -> dict[str, Any]:
    found = folder.json(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{folder.path / name}: expected a JSON object.")
    return found
