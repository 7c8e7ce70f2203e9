"""Sentence Transformers' path of `rankwright.losses`."""

from __future__ import annotations

from rankwright.losses import *  # noqa: F403
from rankwright.losses import __all__ as __all__
