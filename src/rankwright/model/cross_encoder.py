"""`CrossEncoder`: a trainable reranker, and the names that programs know it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rankwright.engine.precision import resolve_precision
from rankwright.errors import InputError, InputTypeError
from rankwright.model.activations import Activation
from rankwright.model.adapted import load_adapted
from rankwright.model.adapter_files import is_adapter_folder
from rankwright.model.adapters import Adapters
from rankwright.model.aliases import Aliases
from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.files import Card, read_card
from rankwright.model.contract import ScoringContract, checked_prompts, choose_prompt
from rankwright.model.core import Assembly, CrossEncoderCore, best_device
from rankwright.model.deprecated import CONSTRUCTOR_NAMES, renamed
from rankwright.model.hub import HubOptions, full_name, local_folder
from rankwright.model.language_models import language_model_parts, parts_of_model
from rankwright.model.limits import default_max_length
from rankwright.model.loading import Loaded, LoadOptions, load_folder
from rankwright.model.logit_score import LogitScore
from rankwright.model.scoring import Scoring

__all__ = ["CrossEncoder"]


class CrossEncoder(Scoring, Aliases, Adapters):
    """Reads a query and a document together and scores their relevance.

    Takes the arguments of Sentence Transformers' class of this name. It differs where that one
    goes wrong: no mapping of the caller's is changed, several threads may predict at once,
    activations keep their parameters when saved, no pickle is opened and no name in a folder is
    called, and texts that are too long are cut loudly.

    Args:
        model_name_or_path: A folder, or the name of a model on the hub. A name without an
            organisation is looked for in ``cross-encoder/``. May hold an adapter alone.
        device: Where to put the weights; None picks a GPU if there is one.
        prompts: Prompt name -> text put before the query; None takes the folder's.
        default_prompt_name: The prompt used when a call names none; None takes the folder's.
        cache_folder: Where downloads are kept.
        trust_remote_code: Whether the folder's own Python code may run.
        revision: Branch, tag or commit on the hub.
        local_files_only: Whether to use the cache only.
        token: Access token for the hub.
        model_kwargs: For the transformers model, such as ``attn_implementation`` or ``dtype``.
            Weights are kept in float32 if it names no ``dtype``, whatever type they are stored
            in: see ``precision`` for faster arithmetic.
        processor_kwargs: For the tokenizer.
        config_kwargs: For the configuration, such as ``classifier_dropout``.
        model_card_data: Fields of the model card.
        backend: ``"torch"``; other engines run exported models.
        num_labels: Outputs of the head; None takes the folder's, or 1 for a new head.
        max_length: Most tokens per pair; None takes the folder's.
        activation_fn: Applied to logits in ``predict``; None takes the folder's, or Sigmoid for
            one label and Identity for more.
        precision: ``"float32"`` (default), ``"auto"`` (bfloat16 where the hardware multiplies it
            natively, ``"int16"`` where the widest vectors are AVX2's), ``"bfloat16"``,
            ``"float16"`` or ``"int16"``: in which format products are computed.
        seed: For the weights of a new head; None draws from torch's global generator.
        logit_score: Which two tokens a causal language model is scored by, a `LogitScore`; None
            takes the folder's, or "yes" and "no". False gives it a new classification head.
        template: What a language model reads, with ``{instruction}``, ``{query}`` and
            ``{document}`` in their places; None takes the folder's: see `LogitScore`.
        base_model: Folder or hub name of the model that an adapter goes on; None takes the one
            that the adapter's folder names. Only for adapters.
        deprecated: Names that these arguments had in earlier releases of Sentence Transformers.

    Raises:
        ModelNotFoundError: Neither a folder nor a model that the hub has.
        ConfigError, WeightsError, UnsafeModelError, ModelError: A folder that cannot be used.
        InputError: An argument with a value that cannot be used.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: CrossEncoderModelCardData | None = None,
        backend: str = "torch",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: str | Activation | None = None,
        precision: str = "float32",
        seed: int | None = None,
        logit_score: LogitScore | bool | None = None,
        template: str | None = None,
        base_model: str | Path | None = None,
        **deprecated: Any,
    ) -> None:
        if deprecated:
            today: dict[str, Any] = {
                "model_name_or_path": model_name_or_path,
                "model_kwargs": model_kwargs,
                "processor_kwargs": processor_kwargs,
                "config_kwargs": config_kwargs,
                "cache_folder": cache_folder,
                "activation_fn": activation_fn,
            }
            today = renamed("CrossEncoder", deprecated, CONSTRUCTOR_NAMES, today)
            model_name_or_path, model_kwargs, processor_kwargs = list(today.values())[:3]
            config_kwargs, cache_folder, activation_fn = list(today.values())[3:]
        if model_name_or_path is None:
            raise InputTypeError("CrossEncoder needs model_name_or_path: a folder or a hub name.")
        if backend != "torch":
            raise InputError(
                f"backend={backend!r} is not available here; only 'torch' is. Models for other "
                "engines are exported from a trained one."
            )
        resolve_precision(precision, "cpu")  # refuses unknown names before anything is loaded
        hub = HubOptions(revision, cache_folder, token, local_files_only, trust_remote_code)
        folder = local_folder(model_name_or_path, hub)
        options = LoadOptions(
            num_labels=num_labels,
            seed=seed,
            trust_remote_code=trust_remote_code,
            model_kwargs=model_kwargs or {},
            tokenizer_kwargs=processor_kwargs or {},
            config_kwargs=config_kwargs or {},
            causal=None if logit_score is None else bool(logit_score),
        )
        source: str | Path = model_name_or_path
        if is_adapter_folder(folder):
            loaded, source = load_adapted(folder, base_model, options, hub)
        elif base_model is None:
            loaded = load_folder(folder, options)
        else:
            raise InputError(
                f"base_model={str(base_model)!r} is only for adapters, but {folder} holds a whole "
                "model. Leave base_model out."
            )
        contract = loaded.layout.contract
        given: dict[str, Any] = {
            "prompts": None if prompts is None else checked_prompts(prompts, "prompts"),
            "default_prompt_name": default_prompt_name,
            "max_length": max_length or options.tokenizer_kwargs.get("model_max_length"),
        }
        contract = replace(contract, **{k: v for k, v in given.items() if v is not None})
        choose_prompt(contract.prompts, contract.default_prompt_name)  # refuses unknown names
        tokens, templates = language_model_parts(loaded, logit_score, template)
        super().__init__(
            Assembly(
                model=loaded.model,
                tokenizer=loaded.tokenizer,
                contract=contract,
                activation_fn=activation_fn,
                precision=precision,
                trust_remote_code=trust_remote_code,
                tokens=tokens,
                templates=templates,
            )
        )
        if not (model_kwargs or {}).get("device_map"):
            self.to(device or best_device())
        self._set_card(model_card_data, _base_name(source), _own_card(loaded))
        self._source = _location(source)

    @classmethod
    def from_transformers(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        activation_fn: str | Activation | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        precision: str = "float32",
        model_card_data: CrossEncoderModelCardData | None = None,
        logit_score: LogitScore | None = None,
        template: str | None = None,
    ) -> CrossEncoder:
        """A cross-encoder around a model that is already built; the model is not copied.

        Args:
            model: A transformers model with a sequence-classification head, or a causal language
                model.
            tokenizer: Its tokenizer.
            max_length: Most tokens per pair; None takes the lesser of what the two allow.
            activation_fn: As in the constructor.
            prompts: As in the constructor.
            default_prompt_name: As in the constructor.
            precision: As in the constructor.
            model_card_data: As in the constructor.
            logit_score: As in the constructor.
            template: As in the constructor.

        Raises:
            InputError: As in the constructor.
        """
        length = max_length or default_max_length(
            tokenizer.model_max_length, model.config.to_dict()
        )
        contract = ScoringContract(
            max_length=length,
            prompts=checked_prompts(prompts, "prompts"),
            default_prompt_name=default_prompt_name,
        )
        choose_prompt(contract.prompts, default_prompt_name)
        tokens, templates = parts_of_model(model, tokenizer, logit_score, template)
        made = cls.__new__(cls)
        CrossEncoderCore.__init__(
            made,
            Assembly(
                model=model,
                tokenizer=tokenizer,
                contract=contract,
                activation_fn=activation_fn,
                precision=precision,
                tokens=tokens,
                templates=templates,
            ),
        )
        made._set_card(model_card_data, model.config.name_or_path or None, None)
        made._source = model.config.name_or_path or None
        return made


def _base_name(name_or_path: str | Path) -> str:
    """What the card calls the base: a hub name, or the folder's own name without its path."""
    path = Path(name_or_path).expanduser()
    return path.resolve().name if path.is_dir() else full_name(str(name_or_path))


def _location(name_or_path: str | Path) -> str:
    """Where to find it again: a hub name, or the folder with its whole path."""
    path = Path(name_or_path).expanduser()
    return str(path.resolve()) if path.is_dir() else full_name(str(name_or_path))


def _own_card(loaded: Loaded) -> Card | None:
    """The README.md the model came with, unless it describes what is now only the base."""
    return None if loaded.new_head else read_card(loaded.layout.folder)
