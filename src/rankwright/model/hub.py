"""A model's name to a local folder: as it is, or downloaded from the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankwright.errors import ModelNotFoundError

__all__ = ["HubOptions", "full_name", "local_folder"]

DEFAULT_ORGANISATION = "cross-encoder"

# Bare names that existed on the hub before organisations did, such as "bert-base-uncased".
_BARE_NAMES = (
    "albert-",
    "bert-",
    "camembert-",
    "distilbert-",
    "distilroberta-",
    "roberta-",
    "xlm-roberta-",
    "xlnet-",
)

# What a torch model needs. Exports for other engines and old pickles stay where they are.
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md")
_IGNORED = ("onnx/*", "openvino/*", "native/*", "*checkpoint-*/*", "runs/*")
# What an exported model needs: no weights for torch.
_EXPORT_PATTERNS = (
    *("*.json", "*.onnx", "*.onnx_data", "*openvino*.xml", "*openvino*.bin"),
    "native/*.safetensors",
)
_EXPORT_IGNORED = ("*checkpoint-*/*", "runs/*")


@dataclass(frozen=True)
class HubOptions:
    """How the hub is asked.

    Attributes:
        revision: Branch, tag or commit; None for the default branch.
        cache_folder: Where downloads are kept; None for the hub client's own choice.
        token: Access token; True or None for the stored one, False for none.
        local_files_only: Whether to look in the cache only.
        trust_remote_code: Whether Python files are downloaded as well.
        exports: Whether exported models are downloaded, in place of weights for torch.
    """

    revision: str | None = None
    cache_folder: str | None = None
    token: bool | str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    exports: bool = False


def full_name(name: str) -> str:
    """A short name with its organisation: ``ms-marco-MiniLM-L6-v2`` is in ``cross-encoder``."""
    if "/" in name or name.lower().startswith(_BARE_NAMES):
        return name
    return f"{DEFAULT_ORGANISATION}/{name}"


def local_folder(name_or_path: str | Path, options: HubOptions) -> Path:
    """The folder a name stands for, downloading it if needed.

    Raises:
        ModelNotFoundError: Neither a folder nor a model on the hub that can be reached.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    text = str(name_or_path)
    looks_local = path.exists() or path.is_absolute() or text.startswith((".", "~"))
    if looks_local or "\\" in text or text.count("/") > 1 or not text.strip():
        raise ModelNotFoundError(
            f"There is no folder {text!r}{' (it is a file)' if path.is_file() else ''}. Pass a "
            "folder that holds config.json and model.safetensors, or the name of a model on the "
            "hub such as 'cross-encoder/ms-marco-MiniLM-L6-v2'."
        )
    return _download(full_name(text), options)


def _download(name: str, options: HubOptions) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = [*_PATTERNS, "*.py"] if options.trust_remote_code else list(_PATTERNS)
    ignored = list(_IGNORED)
    if options.exports:
        patterns, ignored = list(_EXPORT_PATTERNS), list(_EXPORT_IGNORED)
    try:
        return Path(
            snapshot_download(
                name,
                revision=options.revision,
                cache_dir=options.cache_folder,
                token=options.token,
                local_files_only=options.local_files_only,
                allow_patterns=patterns,
                ignore_patterns=ignored,
            )
        )
    except GatedRepoError as error:
        why = "its authors let only approved accounts download it: ask on its page, then pass token"
        raise _not_found(name, why) from error
    except RepositoryNotFoundError as error:
        why = "the hub has no such model, or it is private: check the name, or pass token"
        raise _not_found(name, why) from error
    except RevisionNotFoundError as error:
        raise _not_found(name, f"it has no revision {options.revision!r}") from error
    except HFValidationError as error:
        raise _not_found(name, f"that cannot be the name of a model ({error})") from error
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        why = (
            "it is not in the local cache and local_files_only=True"
            if options.local_files_only
            else f"the hub could not be reached ({type(error).__name__})"
        )
        raise _not_found(name, f"{why}: download it on a connected machine first") from error


def _not_found(name: str, why: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"{name!r} is no local folder, and as a hub model: {why}.")
