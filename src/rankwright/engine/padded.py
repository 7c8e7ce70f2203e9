"""Padded execution: any transformers model, behind the same interface as packed execution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.batch import PackedBatch
from rankwright.engine.mode import EvaluationMode

__all__ = ["PaddedForward", "padded_rows", "unpadded"]


class PaddedForward:
    """Unpacks a batch into padded rows and calls the model as transformers does."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._evaluating = EvaluationMode()

    def __call__(self, batch: PackedBatch, training: bool) -> tuple[Any, Tensor]:
        """The model's output and the ``(P, longest)`` bool mask of real tokens.

        With ``training`` dropout follows the model's own flag; without it is off.
        """
        device = next(self.model.parameters()).device
        lengths = batch.lengths
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        pad_id = self.model.config.pad_token_id or 0
        features = {
            "input_ids": padded_rows(batch.input_ids, mask, pad_id).to(device),
            "attention_mask": mask.long().to(device),
        }
        if batch.token_type_ids is not None:
            features["token_type_ids"] = padded_rows(batch.token_type_ids, mask, 0).to(device)
        if training:
            return self.model(**features), mask
        with self._evaluating(self.model):
            return self.model(**features), mask


def padded_rows(flat: Tensor, mask: Tensor, fill: int) -> Tensor:
    """Packed values ``(T,)`` in the places of a ``(P, longest)`` mask; ``fill`` in the others."""
    rows = torch.full(mask.shape, fill, dtype=flat.dtype)
    rows[mask] = flat.cpu()
    return rows


def unpadded(features: Mapping[str, Tensor]) -> PackedBatch:
    """The reverse: padded rows, whichever side is padded, to one packed batch.

    Args:
        features: ``input_ids`` and, unless all rows are full, ``attention_mask``: ``(P, longest)``.
    """
    ids = features["input_ids"]
    mask = features.get("attention_mask")
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.to(ids.device) > 0
    positions = real.long().cumsum(1) - 1
    return PackedBatch(ids[real], positions[real], real.sum(1).cpu())
