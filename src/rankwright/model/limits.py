"""How many tokens a pair may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankwright.errors import InputError, InputTypeError

__all__ = ["FALLBACK_MAX_LENGTH", "checked_length", "default_max_length", "position_limit"]

FALLBACK_MAX_LENGTH = 512
"""For models whose files name no limit at all."""

_UNSET = 1_000_000
"""transformers writes 10^30 where a tokenizer has no limit."""

# Their position ids start after the padding id, so that many rows of the table are never used.
_OFFSET_FAMILIES = frozenset(
    "camembert data2vec-text ibert longformer mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod".split()
)
# Relative or rotary positions: the number in config.json is what they were trained with.
_WITHOUT_TABLE = frozenset("deberta-v2 modernbert eurobert t5 mt5 umt5 xlnet nomic_bert".split())


def position_limit(config: Mapping[str, Any]) -> int | None:
    """Most tokens the position table has room for; None for models without such a table.

    Args:
        config: ``config.json`` of the model.
    """
    if config.get("model_type") in _WITHOUT_TABLE:
        return None
    return _trained_length(config)


def default_max_length(tokenizer_limit: Any, config: Mapping[str, Any]) -> int:
    """The lesser of what the tokenizer says and what the model was trained with.

    Args:
        tokenizer_limit: ``model_max_length`` of the tokenizer; None or huge if it has none.
        config: ``config.json`` of the model.
    """
    known = [_trained_length(config)]
    if isinstance(tokenizer_limit, (int, float)) and 0 < tokenizer_limit < _UNSET:
        known.append(int(tokenizer_limit))
    return min((limit for limit in known if limit is not None), default=FALLBACK_MAX_LENGTH)


def checked_length(value: Any, limit: int | None) -> int:
    """``value``, if pairs can have that many tokens.

    Args:
        value: The number of tokens.
        limit: What `position_limit` gives for the model.

    Raises:
        InputTypeError: Not an integer.
        InputError: Less than 1, or more than the model has positions for.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputTypeError(f"max_length is {value!r}; expected a whole number of tokens.")
    if value < 1:
        raise InputError(f"max_length={value}; expected at least 1.")
    if limit is not None and value > limit:
        raise InputError(
            f"max_length={value} is more than this model has positions for: {limit}. "
            "Use at most that, or a base model for longer texts."
        )
    return value


def _trained_length(config: Mapping[str, Any]) -> int | None:
    # DistilBERT and some others use their own names, which transformers maps in memory only.
    value = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(value, int) or value < 1:
        return None
    if config.get("model_type") in _OFFSET_FAMILIES:
        return value - int(config.get("pad_token_id") or 0) - 1
    return value
