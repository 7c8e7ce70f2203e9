"""Many pairs to scores: sorted, batched by tokens, put back in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from rankwright.engine.compiled import require_compiled, runs_compiled
from rankwright.engine.families.base import PackedEncoder
from rankwright.engine.pack import pack
from rankwright.engine.precision import precision_context
from rankwright.engine.schedule import token_batches
from rankwright.engine.scorers import Scorer
from rankwright.engine.tokenize import TokenizedPairs

__all__ = ["ScoreOptions", "default_token_budget", "score", "score_stream"]


@dataclass(frozen=True)
class ScoreOptions:
    """How pairs are batched.

    Attributes:
        token_budget: Most tokens in one forward pass; None picks by device.
        max_pairs: Most pairs in one forward pass; None for no limit.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"int16"`` or ``"auto"``.
        progress: Whether to show a progress bar.
        device: Where the model is.
    """

    token_budget: int | None = None
    max_pairs: int | None = None
    precision: str = "float32"
    progress: bool = False
    device: torch.device | str = "cpu"


COMPILED_BUDGET = 16_384
"""The compiled library cuts batches into pieces itself; cores wait for each other at their ends."""


def default_token_budget(device: torch.device | str) -> int:
    """Tokens per forward pass: few enough on a CPU for temporaries to stay in its cache."""
    return 2048 if torch.device(device).type == "cpu" else 65_536


def _budget(options: ScoreOptions, encoder: PackedEncoder | None) -> int:
    if options.token_budget is not None:
        return options.token_budget
    with precision_context(options.precision, options.device):
        if runs_compiled(encoder):
            return COMPILED_BUDGET
    return default_token_budget(options.device)


def score(
    scorer: Scorer, pairs: TokenizedPairs, options: ScoreOptions | None = None
) -> NDArray[np.float32]:
    """Logits ``(P, num_labels)`` float32 in the order of the input.

    A pair's score does not depend on which pairs it is batched with beyond rounding.
    """
    return score_stream(scorer, (pairs,), len(pairs), options)


def score_stream(
    scorer: Scorer,
    pieces: Iterable[TokenizedPairs],
    total: int,
    options: ScoreOptions | None = None,
) -> NDArray[np.float32]:
    """As `score`, for pairs that come in pieces; each is sorted and batched by itself.

    Args:
        scorer: Packed pairs to logits.
        pieces: Tokenised pairs; only one piece is held at a time.
        total: How many pairs there will be, for the progress bar.
        options: How pairs are batched.

    Raises:
        InputError: A precision that the model cannot be run in here.
    """
    options = options or ScoreOptions()
    encoder = getattr(scorer, "encoder", None)
    require_compiled(options.precision, encoder)
    budget = _budget(options, encoder)
    done: list[NDArray[np.float32]] = []
    with tqdm(total=total, unit="pair", desc="Scoring", disable=not options.progress) as bar:
        for pairs in pieces:
            rows: list[NDArray[np.float32]] = []
            order: list[NDArray[np.int64]] = []
            # Not around the loop: the mode would reach into whatever makes the pieces.
            with torch.inference_mode(), precision_context(options.precision, options.device):
                for index in token_batches(pairs.lengths, budget, options.max_pairs):
                    rows.append(scorer(pack(pairs, index), training=False).cpu().numpy())
                    order.append(index)
                    bar.update(len(index))
            if rows:
                result = np.empty((len(pairs), rows[0].shape[1]), np.float32)
                result[np.concatenate(order)] = np.concatenate(rows)
                done.append(result)
    return np.concatenate(done) if done else np.zeros((0, 1), np.float32)
