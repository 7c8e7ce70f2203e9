"""Former names and doubtful combinations of `mine_hard_negatives`' arguments."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from rankwright.errors import InputError
from rankwright.mining.options import MiningOptions

__all__ = [
    "check_sizes",
    "format_for_ranking",
    "former_formats",
    "former_margin",
    "warn_ignored",
    "warn_small_corpus",
]

logger = logging.getLogger(__name__)

# The caller of `mine_hard_negatives`, seen from a function that it calls.
_CALLER = 3


def former_margin(margin: float) -> float:
    """``absolute_margin`` from its former name, with a warning."""
    warnings.warn(
        f"margin is deprecated; use absolute_margin={margin} (or relative_margin).",
        FutureWarning,
        stacklevel=_CALLER,
    )
    return margin


def former_formats(
    output_format: str, output_scores: bool, as_triplets: bool | None
) -> tuple[str, bool]:
    """``output_format`` and ``output_scores`` from their former names, with a warning."""
    if as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
        warnings.warn(
            f"as_triplets is deprecated; use output_format={output_format!r}.",
            FutureWarning,
            stacklevel=_CALLER,
        )
    if output_format == "n-tuple-scores":
        warnings.warn(
            "output_format='n-tuple-scores' is deprecated; use output_format='n-tuple' with "
            "output_scores=True.",
            FutureWarning,
            stacklevel=_CALLER,
        )
        return "n-tuple", True
    return output_format, output_scores


def format_for_ranking(options: MiningOptions, output_format: str) -> str:
    """The format that goes with ``include_positives``, after saying what may surprise."""
    defaults = MiningOptions(num_negatives=options.num_negatives, seed=options.seed)
    if options != defaults:
        logger.warning(
            "include_positives=True leaves positives among the candidates, and the filters, "
            "ranges or sampling given may still remove some of them."
        )
    if output_format != "n-tuple":
        logger.warning(
            "include_positives=True sets output_format to 'n-tuple' (not %r), which alone keeps "
            "the order of the ranking.",
            output_format,
        )
    return "n-tuple"


def check_sizes(**sizes: int) -> None:
    """Raises `InputError` for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} must be at least 1, but is {size}.")


def warn_ignored(for_encoders: Mapping[str, Any], stage: object) -> None:
    """Says which arguments do nothing because ``stage`` was not made from an encoder."""
    given = [name for name, value in for_encoders.items() if value not in (None, False)]
    if given:
        names = ", ".join(name.replace("document_prompt", "corpus_prompt") for name in given)
        logger.warning(
            "%s is used as it is, so these arguments have no effect: %s.",
            type(stage).__name__,
            names,
        )


def warn_small_corpus(possible: int, options: MiningOptions) -> None:
    """Says so when the corpus cannot hold enough negatives for every query."""
    wanted = options.range_min + options.num_negatives
    if possible < wanted:
        logger.warning(
            "The corpus leaves at most %d negatives for some query, fewer than range_min + "
            "num_negatives = %d. Pass more documents with corpus=..., or lower these.",
            max(possible, 0),
            wanted,
        )
