"""Scoring a large batch in parts, so that memory is bounded by a part and not by the batch.

A loss over many documents needs the scores of all of them at once, but not the activations
behind all of them. Each part is scored without keeping activations; in the backward pass they
are computed again, part after part (gradient checkpointing, Chen et al., 2016; for contrastive
losses known as GradCache, Gao et al., 2021). The gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rankwright.engine.batch import PackedBatch

__all__ = ["score_in_parts", "take"]


def take(batch: PackedBatch, pairs: Tensor) -> PackedBatch:
    """The chosen pairs of a batch, in the order chosen, without labels and groups.

    Args:
        batch: P pairs.
        pairs: Indices of pairs, int64, on the CPU.
    """
    starts = batch.lengths.cumsum(0) - batch.lengths
    lengths = batch.lengths[pairs]
    offsets = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(
        lengths
    )
    tokens = (starts[pairs].repeat_interleave(lengths) + offsets).to(batch.input_ids.device)
    types = batch.token_type_ids
    return PackedBatch(
        input_ids=batch.input_ids[tokens],
        position_ids=batch.position_ids[tokens],
        lengths=lengths,
        token_type_ids=None if types is None else types[tokens],
    )


def score_in_parts(
    model: Callable[[PackedBatch], Tensor], batch: PackedBatch, mini_batch_size: int
) -> Tensor:
    """What ``model(batch)`` gives, computed ``mini_batch_size`` pairs at a time.

    Pairs of like length share a part. Dropout draws the same mask again when a part is
    recomputed, but not the mask the whole batch would have got.

    Args:
        model: Scores a packed batch.
        batch: P pairs.
        mini_batch_size: Most pairs per part, at least 1.
    """
    order = torch.argsort(batch.lengths, descending=True, stable=True)
    scores = [_score(model, take(batch, part)) for part in torch.split(order, mini_batch_size)]
    restore = torch.empty_like(order)
    restore[order] = torch.arange(order.numel())
    joined = torch.cat(scores)
    return joined[restore.to(joined.device)]


def _score(model: Callable[[PackedBatch], Tensor], part: PackedBatch) -> Tensor:
    if not torch.is_grad_enabled():
        return model(part)
    scores: Tensor = checkpoint(model, part, use_reentrant=False)
    return scores
