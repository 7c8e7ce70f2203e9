"""Saving, pushing and evaluating a `CrossEncoder`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankwright.errors import InputError
from rankwright.model.activations import describe_activation
from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.render import CardFacts, render_card
from rankwright.model.core import CrossEncoderCore
from rankwright.model.push import PushOptions, push_folder
from rankwright.model.saving import Saved, package_versions, save_folder

__all__ = ["Persistence"]


class Persistence(CrossEncoderCore):
    """The saving methods of `CrossEncoder`.

    Attributes:
        model_card_data: Fields of the model card.
    """

    model_card_data: CrossEncoderModelCardData
    _loaded_card: str | None

    def _set_card(
        self, data: CrossEncoderModelCardData | None, base_model: str | None, card: str | None
    ) -> None:
        self.model_card_data = CrossEncoderModelCardData() if data is None else data
        if self.model_card_data.base_model is None:
            self.model_card_data.base_model = base_model
        self._loaded_card = card

    def check_savable(self) -> None:
        """Does nothing if the model could be saved; worth calling before a long training.

        Raises:
            InputError: Its activation is a function of the caller's.
        """
        describe_activation(self.activation_fn)

    def model_card(self, location: str = "path/to/model") -> str:
        """The text of README.md.

        A card the model came with is kept as it is, as long as nothing in `model_card_data` says
        more; training fills that in.

        Args:
            location: Folder or hub name for the snippets.

        Raises:
            MissingDependencyError: jinja2 is not installed.
        """
        data = self.model_card_data
        if self._loaded_card is not None and not data.says_something:
            return self._loaded_card
        contract = self.contract
        activation = describe_activation(self.activation_fn)
        facts = CardFacts(
            architecture=type(self.model).__name__,
            parameters=sum(p.numel() for p in self.model.parameters()),
            num_labels=self.num_labels,
            max_length=self.max_length,
            activation=activation.name,
            prompts=dict(contract.prompts),
            fusion=self.fusion,
            location=data.model_id or location,
            versions=package_versions("rankwright", "transformers", "torch"),
        )
        return render_card(data, facts)

    def save_pretrained(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Writes a folder that Rankwright, Sentence Transformers and transformers all read.

        Everything is written to a temporary folder first: if that fails, what stood at ``path``
        is untouched. Other files at ``path`` are kept.

        Args:
            path: The folder.
            model_name: Title of the card.
            create_model_card: Whether to write README.md.
            train_datasets: Names of training data for the card.
            safe_serialization: Only True: weights are always safetensors.

        Raises:
            InputError: An activation that cannot be saved, adapters that are not merged, or
                ``safe_serialization=False``.
            SaveError: The operating system refused.
        """
        if not safe_serialization:
            raise InputError(
                "safe_serialization=False would write a pickle, which could run any code when "
                "opened. Leave it out: safetensors are read by every current library."
            )
        if hasattr(self.model, "merge_and_unload"):
            raise InputError(
                "This model carries PEFT adapters, which alone make no model folder. Merge them "
                "first: model.model = model.model.merge_and_unload()"
            )
        if model_name is not None:
            self.model_card_data.model_name = model_name
        self._add_datasets(train_datasets)
        card = self.model_card(Path(path).name) if create_model_card else None
        save_folder(path, Saved(self.model, self.tokenizer, self.contract, card))

    def save(self, path: str | Path, **options: Any) -> None:
        """The same as `save_pretrained`."""
        self.save_pretrained(path, **options)

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str | None = None,
        local_model_path: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Uploads the model to a repository on the hub, which is made if needed.

        Args:
            repo_id: Name, with or without organisation.
            token: Access token; None for the stored one.
            private: Whether a new repository is private.
            safe_serialization: Only True.
            commit_message: None for a plain one.
            local_model_path: A folder to upload instead of the model as it is now.
            exist_ok: Whether the repository may exist already.
            replace_model_card: Whether a README.md that is there is replaced.
            train_datasets: Names of training data for the card.
            revision: Branch to push to.
            create_pr: Whether to open a pull request.

        Returns:
            Address of the commit, or of the pull request.

        Raises:
            InputError: As in `save_pretrained`.
            SaveError: The hub refused; the message says which step.
        """
        self._add_datasets(train_datasets)

        def write(folder: Path, name: str) -> None:
            self.model_card_data.set_model_id(name)
            self.save_pretrained(folder, safe_serialization=safe_serialization)

        options = PushOptions(
            token, private, commit_message, exist_ok, replace_model_card, revision, create_pr
        )
        return push_folder(repo_id, options, write, local_model_path)

    def evaluate(
        self, evaluator: Callable[..., dict[str, float] | float], output_path: str | None = None
    ) -> dict[str, float] | float:
        """What the evaluator measures on this model.

        Args:
            evaluator: Called with the model and ``output_path``.
            output_path: Folder for its files; made if missing.
        """
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
        return evaluator(self, output_path)

    def _add_datasets(self, names: list[str] | None) -> None:
        known = self.model_card_data.train_datasets
        known.extend(name for name in names or [] if name not in known)
