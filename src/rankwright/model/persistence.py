"""Saving, pushing and evaluating a `CrossEncoder`."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankwright.errors import InputError, RankwrightError
from rankwright.model.activations import describe_activation
from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.files import Card, draw, write_card
from rankwright.model.card.render import CardFacts, render_card
from rankwright.model.core import CrossEncoderCore
from rankwright.model.push import PushOptions, push_folder
from rankwright.model.saving import Saved, package_versions, save_folder

__all__ = ["Persistence"]

logger = logging.getLogger(__name__)

_VERSIONS = (
    "rankwright",
    "transformers",
    "torch",
    "accelerate",
    "datasets",
    "tokenizers",
)


class Persistence(CrossEncoderCore):
    """The saving methods of `CrossEncoder`.

    Attributes:
        model_card_data: Fields of the model card.
    """

    model_card_data: CrossEncoderModelCardData
    _loaded_card: Card | None
    _source: str | None = None
    """Folder or hub name that the weights came from."""

    def _set_card(
        self, data: CrossEncoderModelCardData | None, base_model: str | None, card: Card | None
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
        """The text of README.md, without pictures and without asking the model anything.

        A card the model came with is kept as it is, as long as nothing in `model_card_data` says
        more; training fills that in.

        Args:
            location: Folder or hub name for the snippets.

        Raises:
            MissingDependencyError: jinja2 is not installed.
        """
        if self._loaded_card is not None and not self.model_card_data.says_something:
            return self._loaded_card.text
        return render_card(self.model_card_data, self._card_facts(location))

    def _card(self, location: str, with_scores: bool) -> Card:
        """The card with its pictures and with the scores of the usage examples."""
        data = self.model_card_data
        if self._loaded_card is not None and not data.says_something:
            return self._loaded_card
        facts = self._card_facts(location)
        plots, pictures = draw(data)
        scores = self._example_scores() if with_scores else None
        return Card(render_card(data, replace(facts, plots=plots, scores=scores)), pictures)

    def _example_scores(self) -> str | None:
        """What the model gives the usage examples; None where they are not of its own data."""
        data = self.model_card_data
        if not (data.usage_examples and data.generate_widget_examples):
            return None
        try:
            model: Any = self
            scores = model.predict(data.usage_examples, show_progress_bar=False)
        except (RankwrightError, RuntimeError) as error:  # an example is not worth a model
            logger.warning("The model card shows no scores: %s", error)
            return None
        return str(scores.astype(float).round(4).tolist())

    def _card_facts(self, location: str) -> CardFacts:
        data = self.model_card_data
        contract = self.contract
        activation = describe_activation(self.activation_fn)
        return CardFacts(
            architecture=type(self.model).__name__,
            parameters=sum(p.numel() for p in self.model.parameters()),
            num_labels=self.num_labels,
            max_length=self.max_length,
            activation=activation.name,
            prompts=dict(contract.prompts),
            fusion=self.fusion,
            location=data.model_id or location,
            versions={"Python": platform.python_version()} | package_versions(*_VERSIONS),
        )

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
        is untouched. Other files at ``path`` are kept. A model with an adapter is saved as the
        adapter alone, its trained head included; ``merge_and_unload`` makes it a whole model.

        Args:
            path: The folder.
            model_name: Title of the card.
            create_model_card: Whether to write README.md.
            train_datasets: Names of training data for the card.
            safe_serialization: Only True: weights are always safetensors.

        Raises:
            InputError: An activation that cannot be saved, several active adapters, or
                ``safe_serialization=False``.
            SaveError: The operating system refused.
        """
        if not safe_serialization:
            raise InputError(
                "safe_serialization=False would write a pickle, which could run any code when "
                "opened. Leave it out: safetensors are read by every current library."
            )
        if model_name is not None:
            self.model_card_data.model_name = model_name
        self._add_datasets(train_datasets)
        card = self._card(Path(path).name, with_scores=True) if create_model_card else None
        saved = Saved(
            model=self.model,
            tokenizer=self.tokenizer,
            contract=self.contract,
            card=card,
            base=self._source,
            tokens=self.score_tokens,
            templates=self._templates,
        )
        save_folder(path, saved)

    def save_card(self, path: str | Path) -> None:
        """Writes the model card alone, into a folder that holds a model already.

        It shows no scores, for the model in the folder may be another state of this one.
        """
        folder = Path(path)
        write_card(self._card(folder.name, with_scores=False), folder, folder)

    def save(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """The same as `save_pretrained`."""
        self.save_pretrained(
            path, model_name, create_model_card, train_datasets, safe_serialization
        )

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
