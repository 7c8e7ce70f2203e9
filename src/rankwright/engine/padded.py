"""Padded execution: any transformers model, behind the same interface as packed execution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rankwright.engine.batch import PackedBatch
from rankwright.engine.mode import EvaluationMode

__all__ = ["PaddedForward"]


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
            "input_ids": _rows(batch.input_ids, mask, pad_id).to(device),
            "attention_mask": mask.long().to(device),
        }
        if batch.token_type_ids is not None:
            features["token_type_ids"] = _rows(batch.token_type_ids, mask, 0).to(device)
        if training:
            return self.model(**features), mask
        with self._evaluating(self.model):
            return self.model(**features), mask


def _rows(flat: Tensor, mask: Tensor, fill: int) -> Tensor:
    rows = torch.full(mask.shape, fill, dtype=flat.dtype)
    rows[mask] = flat.cpu()
    return rows
