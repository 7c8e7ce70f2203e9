"""A saved folder to the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from rankwright.errors import SaveError

__all__ = ["PushOptions", "push_folder"]

CARD_FILE = "README.md"


@dataclass(frozen=True)
class PushOptions:
    """How a model is pushed.

    Attributes:
        token: Access token; None for the stored one.
        private: Whether a new repository is private; None for the account's default.
        commit_message: None for a plain one.
        exist_ok: Whether the repository may exist already.
        replace_model_card: Whether a README.md that is there is replaced.
        revision: Branch to push to; made if it is missing.
        create_pr: Whether to open a pull request instead of committing.
    """

    token: str | None = None
    private: bool | None = None
    commit_message: str | None = None
    exist_ok: bool = False
    replace_model_card: bool = False
    revision: str | None = None
    create_pr: bool = False


def push_folder(
    repo_id: str,
    options: PushOptions,
    write: Callable[[Path, str], None],
    local_path: str | Path | None = None,
) -> str:
    """Makes the repository if needed, and uploads one commit.

    Args:
        repo_id: Name, with or without organisation.
        options: See `PushOptions`.
        write: Writes the model into a folder, given the repository's full name.
        local_path: A folder to upload instead of writing the model.

    Returns:
        Address of the commit, or of the pull request.

    Raises:
        SaveError: The hub refused or could not be reached; the message says which step.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # What the client's HTTP library raises where there is no answer at all; which library that
    # is changes with the client's version.
    unreachable = (cast(type[Exception], HfHubHTTPError.__bases__[0]), OfflineModeIsEnabled)
    api = HfApi(token=options.token)
    step = "create the repository"
    try:
        repo_id = api.create_repo(
            repo_id=repo_id,
            private=options.private,
            exist_ok=options.exist_ok or options.create_pr,
        ).repo_id
        if options.revision is not None:
            step = f"create the branch {options.revision!r}"
            api.create_branch(repo_id=repo_id, branch=options.revision, exist_ok=True)
        step = "look for a model card"
        keep_card = not options.replace_model_card and api.file_exists(
            repo_id=repo_id, filename=CARD_FILE, revision=options.revision
        )
        with TemporaryDirectory() as temporary:
            folder = Path(local_path) if local_path is not None else Path(temporary) / "model"
            if local_path is None:
                write(folder, repo_id)
            step = "upload the files"
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=str(folder),
                commit_message=options.commit_message or "Add a cross-encoder model",
                ignore_patterns=[CARD_FILE] if keep_card else None,
                revision=options.revision,
                create_pr=options.create_pr,
            )
    except HfHubHTTPError as error:
        raise SaveError(
            f"{repo_id!r} was not pushed: the hub refused to {step}: {error}. Log in with "
            "'hf auth login' or pass token=..., and pass exist_ok=True for a repository that "
            "exists already."
        ) from error
    except unreachable as error:
        raise SaveError(
            f"{repo_id!r} was not pushed: the hub could not be reached to {step} ({error}). "
            "Save to a folder with save_pretrained, and push it later with local_model_path=..."
        ) from error
    return str(commit.pr_url if options.create_pr else commit.commit_url)
