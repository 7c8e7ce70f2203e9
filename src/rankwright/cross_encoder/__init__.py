"""Sentence Transformers' paths, so that a program written for it needs only the package's name.

New programs import from `rankwright` itself, or from its rooms: `rankwright.losses`,
`rankwright.evaluation`, `rankwright.training`, `rankwright.mining`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankwright.model import CrossEncoder, CrossEncoderModelCardData
    from rankwright.training import (
        CrossEncoderDataCollator,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )

__all__ = [
    "CrossEncoder",
    "CrossEncoderDataCollator",
    "CrossEncoderModelCardData",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import rankwright

    if name == "CrossEncoderDataCollator":
        return rankwright.training.CrossEncoderDataCollator
    return getattr(rankwright, name)


def __dir__() -> list[str]:
    return __all__
