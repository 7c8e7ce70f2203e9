"""`PackedBatch`: the one form in which pairs reach a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

__all__ = ["PackedBatch"]


@dataclass(frozen=True)
class PackedBatch:
    """Pairs laid end to end, without padding.

    T is the number of tokens, P the number of pairs and Q the number of groups (queries).

    Attributes:
        input_ids: ``(T,)`` int64 token ids, pair after pair.
        position_ids: ``(T,)`` int64; starts again at 0 with each pair.
        lengths: ``(P,)`` int64 tokens per pair; ``lengths.sum() == T``. Kept on the CPU wherever
            the batch goes, because the shape of the work is decided from it.
        token_type_ids: ``(T,)`` int64 segment ids, or None for models without segments.
        group_sizes: ``(Q,)`` int64 pairs per query, in order; ``group_sizes.sum() == P``. None
            where pairs are independent. On the CPU, like ``lengths``.
        labels: ``(P,)`` one per pair (float, or int64 classes), or None.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: Tensor
    token_type_ids: Tensor | None = None
    group_sizes: Tensor | None = None
    labels: Tensor | None = None

    @property
    def num_pairs(self) -> int:
        """P."""
        return self.lengths.numel()

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.input_ids.numel()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch with its per-token and per-pair tensors on ``device``."""
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name in ("input_ids", "position_ids", "token_type_ids", "labels")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def to_dict(self) -> dict[str, Tensor]:
        """Its tensors by name, for dataloaders that only know mappings."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}

    @classmethod
    def from_dict(cls, tensors: Mapping[str, Tensor]) -> PackedBatch:
        """The reverse of `to_dict`; names it does not know are ignored."""
        names = {f.name for f in fields(cls)}
        batch = cls(**{name: value for name, value in tensors.items() if name in names})
        sizes = batch.group_sizes
        return replace(
            batch,
            lengths=batch.lengths.cpu(),
            group_sizes=None if sizes is None else sizes.cpu(),
        )
