"""Working through a large batch in parts, so that memory is bounded by a part.

Where the loss of the whole is a weighted mean over its groups, each part simply has its own
forward and backward pass (`share_out`). That costs nothing, and on a CPU it is even faster,
because smaller temporaries stay in the cache.

Any other loss needs the scores of all documents at once, but not the activations behind all of
them. Each part is scored without keeping activations; in the backward pass they are computed
again, part after part (`score_in_parts`; gradient checkpointing, Chen et al., 2016; for
contrastive losses known as GradCache, Gao et al., 2021). The gradients are those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rankwright.engine.batch import PackedBatch
from rankwright.losses.base import Loss

__all__ = ["score_in_parts", "share_out", "take"]


Share = float | Mapping[str, float]
"""A part's share in the loss of the whole; one per component for a loss that has components."""


def share_out(
    batch: PackedBatch, loss: Loss, most_tokens: int, most_pairs: int | None = None
) -> list[tuple[PackedBatch, Share]]:
    """Parts of a batch with the share each has in its loss.

    Whole groups, or single pairs where there are no groups, are put together by length until a
    part holds ``most_tokens`` or ``most_pairs``; a group larger than that is a part of its own.

    Args:
        batch: P pairs.
        loss: The loss; if it cannot be taken apart, the batch comes back whole.
        most_tokens: Tokens per part.
        most_pairs: Pairs per part; None for any number.

    Returns:
        Batches, and numbers of at least 0 that sum to 1 (or are all 0, as the loss is then).
    """
    most_pairs = most_pairs or batch.num_pairs
    if batch.num_tokens <= most_tokens and batch.num_pairs <= most_pairs:
        return [(batch, 1.0)]
    total = loss.weight_of(batch.num_pairs, batch.labels, batch.group_sizes)
    if total is None:
        return [(batch, 1.0)]
    sizes = batch.group_sizes if batch.group_sizes is not None else torch.ones_like(batch.lengths)
    ends = sizes.cumsum(0)
    units = torch.zeros(len(sizes), dtype=torch.int64).index_add_(
        0, torch.arange(len(sizes)).repeat_interleave(sizes), batch.lengths
    )
    per_pair = units / sizes.clamp(min=1)
    parts: list[list[int]] = []
    held = pairs_held = 0
    for unit in torch.argsort(per_pair, descending=True, stable=True).tolist():
        size, tokens = int(sizes[unit]), int(units[unit])
        full = held + tokens > most_tokens or pairs_held + size > most_pairs
        # Groups without pairs come last, and never make a part of their own.
        if not parts or (full and size > 0):
            parts.append([])
            held = pairs_held = 0
        parts[-1].append(unit)
        held += tokens
        pairs_held += size
    shared: list[tuple[PackedBatch, Share]] = []
    for part in parts:
        pairs = torch.cat([torch.arange(int(ends[u] - sizes[u]), int(ends[u])) for u in part])
        labels = None if batch.labels is None else batch.labels[pairs.to(batch.labels.device)]
        groups = None if batch.group_sizes is None else sizes[torch.tensor(part)]
        chosen = replace(take(batch, pairs), labels=labels, group_sizes=groups)
        weight = loss.weight_of(len(pairs), labels, groups)
        assert weight is not None
        shared.append((chosen, _ratio(weight, total)))
    return shared


def _ratio(part: Share, whole: Share) -> Share:
    if isinstance(part, Mapping) or isinstance(whole, Mapping):
        assert isinstance(part, Mapping)
        assert isinstance(whole, Mapping)
        return {name: _divided(part[name], whole[name]) for name in whole}
    return _divided(part, whole)


def _divided(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


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
