"""The layers that PEFT puts around those of a model, and how to be rid of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rankwright.engine.adapters import adapter_configs

__all__ = ["merge_layers", "remove_empty_layers"]


@torch.no_grad()
def merge_layers(model: Any) -> None:
    """Makes the active adapter a part of the weights, and every layer a plain one.

    Raises:
        ValueError: The adapter's weights are not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    def merged(module: Any) -> Any:
        if hasattr(module, "unload_and_optionally_merge_module"):
            return module.unload_and_optionally_merge_module(
                merge=True, safe_merge=True, adapter_names=None
            )
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            return module.get_base_layer()
        return None

    _exchange(model, merged)
    del model.peft_config
    model._hf_peft_config_loaded = False


def _exchange(model: Any, other: Callable[[nn.Module], nn.Module | None]) -> None:
    """Puts ``other(module)`` in the place of modules for which it is not None, outermost first."""
    done: list[str] = []
    for name, module in [*model.named_modules()]:
        if any(name.startswith(f"{before}.") for before in done):
            continue
        found = other(module)
        if found is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, found)
            done.append(name)


def remove_empty_layers(model: Any) -> bool:
    """Takes out what PEFT leaves around the layers of a model that has no adapter any more.

    Returns:
        Whether it has none.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if adapter_configs(model):
        return False

    def plain(module: Any) -> Any:
        if isinstance(module, AuxiliaryTrainingWrapper):
            return module.original_module
        return module.get_base_layer() if isinstance(module, BaseTunerLayer) else None

    _exchange(model, plain)
    return True
