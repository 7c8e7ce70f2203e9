"""The collator: rows of text in, one packed batch out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rankwright.engine.pack import pack
from rankwright.engine.tokenize import PairTokenizer
from rankwright.losses.pairs import LABEL_COLUMNS, PairBuilder, as_columns

__all__ = ["PackedInputs", "PackingCollator"]


class PackedInputs(dict[str, Tensor]):
    """A `PackedBatch` by name, with two more tensors that only the trainer looks at.

    ``row_pairs (rows,)`` int64 counts the pairs made of each dataset row, and ``truncated ()``
    int64 the pairs that lost tokens. It comes out of dataloader workers and pinned memory
    unchanged, and `to` leaves on the CPU what is needed there, so that moving it to a GPU does
    not make the GPU wait.
    """

    ON_CPU = frozenset({"lengths", "group_sizes", "row_pairs", "truncated"})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedInputs:
        """The same with its per-token and per-pair tensors on ``device``."""
        return PackedInputs(
            (name, value if name in self.ON_CPU else value.to(device, non_blocking=non_blocking))
            for name, value in self.items()
        )

    def __copy__(self) -> PackedInputs:
        return PackedInputs(self)


@dataclass(frozen=True)
class PackingCollator:
    """Builds pairs, tokenises them and packs them into one batch.

    It holds no model and no state, so it can be pickled and runs in dataloader workers, forked
    or started afresh. Pairs keep the order of the rows; groups stay together.

    Attributes:
        pairs: How rows become pairs, from the loss.
        pair_tokenizer: The model's tokenizer.
        max_length: Most tokens of a pair, special tokens included.
    """

    pairs: PairBuilder
    pair_tokenizer: PairTokenizer
    max_length: int
    valid_label_columns: tuple[str, ...] = LABEL_COLUMNS

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> PackedInputs:
        """The packed batch of these dataset rows.

        Raises:
            DataError: Rows that the loss cannot use; see `PairBuilder`.
        """
        columns = as_columns(rows)
        built = self.pairs(columns)
        tokenized = self.pair_tokenizer.encode(built.pairs, self.max_length)
        integer = self.pairs.labels.integer
        labels = None
        if built.labels is not None:
            labels = torch.tensor(built.labels, dtype=torch.int64 if integer else torch.float32)
        sizes = None if built.group_sizes is None else torch.tensor(built.group_sizes)
        batch = pack(tokenized, labels=labels, group_sizes=sizes)
        row_pairs = torch.ones(len(rows), dtype=torch.int64) if sizes is None else sizes
        # First, because transformers takes the first tensor's length for the number of rows.
        return PackedInputs(
            row_pairs=row_pairs, truncated=torch.tensor(tokenized.truncated), **batch.to_dict()
        )
