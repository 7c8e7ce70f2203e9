"""What a packed encoder offers, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rankwright.engine.attention import segment_masks
from rankwright.engine.batch import PackedBatch
from rankwright.engine.layout import Fit, Layout, fit_for, make_layout
from rankwright.engine.ops import WeightCache

__all__ = ["PackedEncoder", "Pass"]


@dataclass(frozen=True)
class Pass:
    """One forward pass: what all layers of it share.

    Attributes:
        layout: Where the tokens lie.
        dtype: The compute type.
        training: Whether dropout is on.
        masks: Attention masks by window (None for unlimited).
        cache: Cast weights.
        first_only: The last layer computes first tokens only.
        last: Whether this is the last layer.
    """

    layout: Layout
    dtype: torch.dtype
    training: bool
    masks: dict[int | None, list[Tensor | None]]
    cache: WeightCache
    first_only: bool
    rotary: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    last: bool = False

    @property
    def trim(self) -> bool:
        """Whether this layer keeps the first token of each pair only."""
        return self.last and self.first_only


class PackedEncoder(ABC):
    """Runs the layers of one encoder on a `PackedBatch`.

    Args:
        windows: The attention windows its layers use (None for unlimited).
    """

    def __init__(self, windows: tuple[int | None, ...] = (None,)) -> None:
        self.cache = WeightCache()
        self._windows = windows

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """Number of layers."""

    @abstractmethod
    def embed(self, ids: Tensor, types: Tensor | None, positions: Tensor, run: Pass) -> Tensor:
        """``(S,)`` ids, segments and positions to ``(S, hidden)`` in the compute type."""

    @abstractmethod
    def layer(self, index: int, hidden: Tensor, run: Pass) -> Tensor:
        """One layer: ``(S, hidden) -> (S, hidden)``, or ``(R, hidden)`` where ``run.trim``."""

    def finish(self, hidden: Tensor, run: Pass) -> Tensor:
        """What comes after the last layer (a final norm in some families)."""
        return hidden

    def fit(self, device: torch.device, dtype: torch.dtype, training: bool) -> Fit:
        """How closely a layout is to fit its pairs."""
        return fit_for(device.type, dtype, training)

    def prepare(self, run: Pass) -> Pass:
        """Adds what a family computes once per pass, such as rotary tables."""
        return run

    def positions(self, ids: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """The family's position numbers from plain ones counted from 0."""
        return positions

    def encode(
        self,
        batch: PackedBatch,
        *,
        dtype: torch.dtype,
        training: bool,
        first_only: bool,
        checkpointing: bool = False,
    ) -> tuple[Tensor, Layout]:
        """Hidden states after the last layer.

        Returns:
            ``(R, hidden)`` states of the layout's ``first`` tokens when ``first_only``,
            else ``(S, hidden)`` states of all slots; and the layout, to find the way back.
        """
        device = batch.input_ids.device
        fit = self.fit(device, dtype, training)
        layout = make_layout(batch.lengths.numpy(), fit).to(device)
        masks = {window: segment_masks(layout, window, dtype) for window in self._windows}
        run = self.prepare(Pass(layout, dtype, training, masks, self.cache, first_only))
        positions = self.positions(batch.input_ids, batch.position_ids, batch.lengths)
        types = batch.token_type_ids
        hidden = self.embed(
            batch.input_ids[layout.source],
            None if types is None else types[layout.source],
            positions[layout.source],
            run,
        )
        for index in range(self.num_layers):
            here = replace(run, last=index == self.num_layers - 1)
            if checkpointing and training:
                hidden = checkpoint(self.layer, index, hidden, here, use_reentrant=False)
            else:
                hidden = self.layer(index, hidden, here)
        return self.finish(hidden, run), layout
