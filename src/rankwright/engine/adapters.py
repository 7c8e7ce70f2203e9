"""Adapters, such as LoRA, as packed execution sees them.

Packed execution calls the layers of the transformers model one by one. A layer that an adapter
has replaced is called as it is, on a flat row of tokens, so the adapter is part of the product,
forwards and backwards. That is right for every method that treats each token by itself; any other
one runs padded, through the model's own forward.
"""

from __future__ import annotations

from typing import Any

__all__ = ["adapter_configs", "inner_model", "padding_reason"]

TOKEN_BY_TOKEN = frozenset(
    {"LORA", "ADALORA", "IA3", "LOHA", "LOKR", "VERA", "OFT", "BOFT", "HRA", "RANDLORA"}
)
"""PEFT methods that change layers in a way that does not look at a token's neighbours."""


def inner_model(model: Any) -> Any:
    """The transformers model inside a ``peft.PeftModel``, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def adapter_configs(model: Any) -> dict[str, Any]:
    """Adapter name -> PEFT configuration; empty for a model without adapters."""
    return dict(getattr(model, "peft_config", None) or {})


def padding_reason(model: Any) -> str | None:
    """Why a model's adapters cannot run packed; None if they can, or if there are none."""
    for name, config in adapter_configs(model).items():
        kind = getattr(config.peft_type, "value", config.peft_type)
        if kind not in TOKEN_BY_TOKEN:
            return f"its adapter {name!r} is of the kind {kind}, which is not computed by layers"
        if getattr(config, "alora_invocation_tokens", None):
            return f"its adapter {name!r} depends on certain tokens of the input"
    return None
