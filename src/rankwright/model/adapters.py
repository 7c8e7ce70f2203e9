"""Adapters on a `CrossEncoder`: few weights that are trained in place of all.

LoRA (Hu et al., 2021, https://arxiv.org/abs/2106.09685) and its kin come from the package
``peft``; the adapter's modules are put inside the transformers model, so ``model`` stays what it
was, and packed execution runs through them.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rankwright.engine.adapters import adapter_configs, inner_model
from rankwright.engine.last_token import is_causal
from rankwright.errors import InputError, InputTypeError, WeightsError
from rankwright.model.adapter_files import (
    adapter_state,
    import_peft,
    insert_adapter,
    read_adapter,
    several_adapters,
)
from rankwright.model.adapter_layers import merge_layers, remove_empty_layers
from rankwright.model.core import CrossEncoderCore
from rankwright.model.hub import HubOptions, local_folder

__all__ = ["Adapters", "head_modules"]

logger = logging.getLogger(__name__)


class Adapters(CrossEncoderCore):
    """The adapter methods of `CrossEncoder`."""

    def add_adapter(self, peft_config: Any, adapter_name: str = "default") -> None:
        """Puts a new adapter into the model; from then on only it and the head are trained.

        The head always belongs to the adapter (PEFT's ``modules_to_save``): a reranker's head is
        trained from scratch or nearly so, and without it a saved adapter could not score.

        Args:
            peft_config: A configuration such as ``peft.LoraConfig(r=8)``; it is not changed.
                Where it names no ``target_modules``, PEFT's choice for the architecture holds.
            adapter_name: What to call it.

        Raises:
            MissingDependencyError: ``peft`` is not installed.
            InputTypeError: Not a configuration.
            InputError: One that cannot be put inside a model, or a name that is taken.
        """
        peft = import_peft()
        model = inner_model(self.model)
        if not isinstance(peft_config, peft.PeftConfig):
            raise InputTypeError(
                "peft_config must be a configuration of the package peft, such as "
                f"peft.LoraConfig(r=8); found {type(peft_config).__name__}."
            )
        if adapter_name in adapter_configs(model):
            raise InputError(f"The model has an adapter {adapter_name!r}; pass another name.")
        config = copy.deepcopy(peft_config)
        config.task_type = config.task_type or ("CAUSAL_LM" if is_causal(model) else "SEQ_CLS")
        if hasattr(config, "modules_to_save"):
            head = head_modules(model)
            config.modules_to_save = list(dict.fromkeys([*(config.modules_to_save or []), *head]))
        try:
            with several_adapters():
                model.add_adapter(config, adapter_name)
        except ValueError as error:
            if not adapter_configs(model):
                model._hf_peft_config_loaded = False
            linear = {n.split(".")[-1] for n, m in model.named_modules() if type(m) is nn.Linear}
            raise InputError(
                f"This adapter cannot be added to {type(model).__name__}: {error}. Name layers by "
                f"target_modules, for example some of {sorted(linear)}, or 'all-linear'."
            ) from error
        self.set_adapter(adapter_name)
        trained, total = _count(self.model)
        logger.info(
            "Adapter %r: %d of %d weights are trained (%.2f %%), the head among them.",
            *(adapter_name, trained, total, 100 * trained / total),
        )

    def load_adapter(
        self,
        peft_model_id: str | Path,
        adapter_name: str = "default",
        *,
        is_trainable: bool = False,
        revision: str | None = None,
        token: bool | str | None = None,
        cache_folder: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        """Puts a saved adapter into the model and makes it the active one.

        Args:
            peft_model_id: Its folder, or its name on the hub.
            adapter_name: What to call it.
            is_trainable: Whether it can be trained further.
            revision: Branch, tag or commit on the hub.
            token: Access token for the hub.
            cache_folder: Where downloads are kept.
            local_files_only: Whether to use the cache only.

        Raises:
            ModelNotFoundError, ConfigError, UnsafeModelError, WeightsError: A folder that cannot
                be used, or an adapter for another model.
            InputError: The name is taken.
            MissingDependencyError: ``peft`` is not installed.
        """
        hub = HubOptions(revision, cache_folder, token, local_files_only)
        adapter = read_adapter(local_folder(peft_model_id, hub))
        insert_adapter(inner_model(self.model), adapter, adapter_name, trainable=is_trainable)

    def set_adapter(self, adapter_name: str | list[str]) -> None:
        """Chooses which adapter is in use and trained.

        Raises:
            InputError: There is no such adapter, or several are named that bring a head each.
        """
        model = self._adapted()
        names = self._known(adapter_name)
        if len(names) > 1 and any(_brings_modules(adapter_configs(model)[n]) for n in names):
            raise InputError(
                f"The adapters {', '.join(names)} cannot be in use together: each brings a head, "
                "and a model has one head. Choose one of them."
            )
        model.set_adapter(adapter_name)
        for key, parameter in model.named_parameters():
            # PEFT leaves the adapters that were in use before open to training.
            others = adapter_configs(model).keys() - set(names)
            if any(f".{other}." in f"{key}." for other in others):
                parameter.requires_grad_(False)

    def enable_adapters(self) -> None:
        """Undoes `disable_adapters`."""
        _switch(self._adapted(), on=True)
        self.set_adapter(self.active_adapters())

    def disable_adapters(self) -> None:
        """Scores as the base model does; note that its head may be untrained."""
        _switch(self._adapted(), on=False)

    def active_adapters(self) -> list[str]:
        """The names of the adapters in use."""
        return [str(name) for name in self._adapted().active_adapters()]

    def active_adapter(self) -> str:
        """The name of the first adapter in use."""
        return self.active_adapters()[0]

    def get_adapter_state_dict(self, adapter_name: str | None = None) -> dict[str, Tensor]:
        """The tensors of one adapter, the head's among them; None means the active one."""
        model = self._adapted()
        return adapter_state(model, adapter_name or self.active_adapter())

    def delete_adapter(self, adapter_names: str | list[str]) -> None:
        """Takes adapters out of the model, unused; their trained heads go with them.

        A model without any adapter is a plain one again, all of whose weights can be trained.
        """
        names = self._known(adapter_names)
        model = self._adapted()
        model.delete_adapter(names)
        if remove_empty_layers(model):
            model.requires_grad_(True)
            self.model = model

    def merge_and_unload(self) -> None:
        """Makes the active adapter a part of the weights, and the model a plain one again.

        The scores stay the same up to rounding. All weights can be trained afterwards, and
        ``save_pretrained`` writes a whole model, which every reader of such models takes.

        Raises:
            InputError: There is no adapter.
            WeightsError: The adapter's weights are not finite.
        """
        model = self._adapted()
        try:
            merge_layers(model)
        except ValueError as error:
            raise WeightsError(f"The adapter cannot be merged: {error}") from error
        model.requires_grad_(True)
        self.model = model

    def _known(self, names: str | list[str]) -> list[str]:
        """The names, as a list, if there are such adapters."""
        configs = adapter_configs(self._adapted())
        found = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in found if name not in configs]
        if unknown:
            raise InputError(f"There is no adapter {unknown[0]!r}; there are {sorted(configs)}.")
        return found

    def _adapted(self) -> Any:
        model = inner_model(self.model)
        if not adapter_configs(model):
            raise InputError(
                "This model has no adapter. Make one with add_adapter(peft.LoraConfig(...)), or "
                "load one with load_adapter(folder)."
            )
        model._hf_peft_config_loaded = True  # a PeftModel around it does not say so
        return model


def head_modules(model: Any) -> list[str]:
    """The modules that make the head: those beside the encoder, and the encoder's pooler.

    A pooler counts because checkpoints that were trained to fill in masked words have none, so
    that it may be as new as the rest of the head.

    Args:
        model: A transformers model with a sequence-classification head, or a causal language
            model, whose output matrix was trained with the rest and is no head in this sense.

    Returns:
        Names as PEFT's ``modules_to_save`` takes them.
    """
    if is_causal(model):
        return []
    prefix = model.base_model_prefix
    names = [
        name
        for name, module in model.named_children()
        if name != prefix and next(module.parameters(), None) is not None
    ]
    if getattr(model.base_model, "pooler", None) is not None:
        names.append("pooler")
    return names


def _switch(model: Any, *, on: bool) -> None:
    # The method that transformers adds to models forgets the heads when it switches on again.
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for module in model.modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            module.enable_adapters(on)


def _brings_modules(config: Any) -> bool:
    return bool(getattr(config, "modules_to_save", None))


def _count(model: nn.Module) -> tuple[int, int]:
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
