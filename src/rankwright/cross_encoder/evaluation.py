"""Sentence Transformers' path of `rankwright.evaluation`."""

from __future__ import annotations

from rankwright.evaluation import *  # noqa: F403
from rankwright.evaluation import __all__ as __all__
