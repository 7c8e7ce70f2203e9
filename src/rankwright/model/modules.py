"""``modules.json``: the parts of a Sentence Transformers model, and where its transformer lies.

The types it names are compared, never imported.
"""

from __future__ import annotations

from typing import Any

from rankwright.errors import ConfigError, ModelError, UnsafeModelError
from rankwright.model.folder import ModelFolder

__all__ = ["logit_score_folder", "transformer_folder"]

MODULES_FILE = "modules.json"


def transformer_folder(root: ModelFolder, is_cross_encoder: bool) -> ModelFolder:
    """The folder of the transformer itself, after checking every path the file names.

    An embedding model gives its transformer; what comes after it (pooling, normalising) has no
    place in a cross-encoder.

    Args:
        root: The model folder.
        is_cross_encoder: Whether the folder says that it is a cross-encoder already.

    Raises:
        ConfigError: The file is malformed.
        UnsafeModelError: A path leads outside the folder, or a part is foreign code.
        ModelError: A cross-encoder with parts that are not supported.
    """
    entries = root.json(MODULES_FILE)
    if entries is None:
        return root
    modules = [_checked(entry, index, root) for index, entry in enumerate(_listed(entries, root))]
    types = [kind for kind, _ in modules]
    if not types[0].endswith(".Transformer"):
        raise ModelError(
            f"{root.path / MODULES_FILE}: the first part is {types[0]}; "
            "only models that start with a Transformer can become a cross-encoder."
        )
    if is_cross_encoder and len(modules) > 1 and not _ends_in_logit_score(types):
        raise ModelError(
            f"{root.path / MODULES_FILE}: this cross-encoder has the parts {types[1:]} after its "
            "transformer. Only models whose score comes from a sequence-classification head or "
            "from the logits of two tokens are supported; use Sentence Transformers for this one."
        )
    return root.sub(modules[0][1], MODULES_FILE)


def logit_score_folder(root: ModelFolder) -> ModelFolder | None:
    """Where a cross-encoder keeps which tokens it scores by; None if it has no such part.

    Raises:
        ConfigError, UnsafeModelError: As in `transformer_folder`.
    """
    entries = root.json(MODULES_FILE)
    if entries is None:
        return None
    modules = [_checked(entry, index, root) for index, entry in enumerate(_listed(entries, root))]
    if not _ends_in_logit_score([kind for kind, _ in modules]):
        return None
    if not root.inside(modules[1][1], MODULES_FILE).is_dir():
        raise ConfigError(
            f"{root.path / MODULES_FILE} names the folder {modules[1][1]!r}, which is not there. "
            "It says which tokens the model is scored by: copy the model again."
        )
    return root.sub(modules[1][1], MODULES_FILE)


def _ends_in_logit_score(types: list[str]) -> bool:
    return len(types) == 2 and types[1].endswith(".LogitScore")


def _listed(entries: Any, root: ModelFolder) -> list[Any]:
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{root.path / MODULES_FILE}: expected a list of parts.")
    return entries


def _checked(entry: Any, index: int, root: ModelFolder) -> tuple[str, str]:
    kind = entry.get("type") if isinstance(entry, dict) else None
    path = entry.get("path", "") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or not isinstance(path, str):
        raise ConfigError(
            f"{root.path / MODULES_FILE}: part {index} is {entry!r}; "
            'expected {"idx": 0, "name": "0", "path": "", "type": "..."}.'
        )
    if not kind.startswith("sentence_transformers."):
        raise UnsafeModelError(
            f"{root.path / MODULES_FILE}: part {index} is {kind!r}, which is code from outside "
            "Sentence Transformers and is never run here."
        )
    if path not in ("", "."):
        root.inside(path, MODULES_FILE)
    return kind, path
