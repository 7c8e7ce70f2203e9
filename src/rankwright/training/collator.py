"""The collator: rows of text in, one packed batch out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rankwright.engine.batch import PackedBatch
from rankwright.engine.pack import pack
from rankwright.engine.prompted import TemplateTokenizer
from rankwright.engine.tokenize import PairTokenizer
from rankwright.errors import ColumnError, InputError
from rankwright.losses.pairs import LABEL_COLUMNS, PairBuilder, as_columns
from rankwright.training.rows import RowShape
from rankwright.training.sampling.texts import is_flat

__all__ = ["CollatorByName", "CrossEncoderDataCollator", "PackedInputs", "PackingCollator"]


class PackedInputs(dict[str, Any]):
    """A `PackedBatch` by name, with more that only the trainer looks at.

    ``row_pairs (rows,)`` int64 counts the pairs made of each dataset row (of each query, where rows
    are grouped by query), and ``truncated ()`` int64 the pairs that lost tokens. Where there are
    several data sets, ``dataset_name`` is the name of the one that the rows come from. It comes out
    of dataloader workers and pinned memory unchanged, and `to` leaves on the CPU what is needed
    there, so that moving it to a GPU does not make the GPU wait.
    """

    ON_CPU = frozenset(
        {"lengths", "group_sizes", "row_pairs", "truncated", "dataset_name", "leaked"}
    )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedInputs:
        """The same with its per-token and per-pair tensors on ``device``."""
        return PackedInputs(
            (name, value if name in self.ON_CPU else value.to(device, non_blocking=non_blocking))
            for name, value in self.items()
        )

    def __copy__(self) -> PackedInputs:
        return PackedInputs(self)

    def part(self, batch: PackedBatch) -> PackedInputs:
        """Some pairs of this batch, which come from the same data set."""
        named = {n: self[n] for n in ("dataset_name",) if n in self}
        return PackedInputs(batch.to_dict(), **named)


@dataclass(frozen=True)
class PackingCollator:
    """Builds pairs, tokenises them and packs them into one batch.

    It holds no model and no state, so it can be pickled and runs in dataloader workers, forked
    or started afresh. Pairs keep the order of the rows; groups stay together.

    Attributes:
        pairs: How rows become pairs, from the loss.
        pair_tokenizer: The model's tokenizer.
        max_length: Most tokens of a pair, special tokens included.
        valid_label_columns: Names of the label column; the first that is present counts.
        shape: What is done to rows before they become pairs: prompts, grouping by query.
    """

    pairs: PairBuilder
    pair_tokenizer: PairTokenizer | TemplateTokenizer
    max_length: int
    valid_label_columns: tuple[str, ...] = LABEL_COLUMNS
    shape: RowShape = field(default_factory=RowShape)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> PackedInputs:
        """The packed batch of these dataset rows.

        Raises:
            DataError: Rows that the loss cannot use; see `PairBuilder`.
        """
        built = self.pairs(self.shape(as_columns(rows)))
        tokenized = self.pair_tokenizer.encode(built.pairs, self.max_length)
        integer = self.pairs.labels.integer
        labels = None
        if built.labels is not None:
            labels = torch.tensor(built.labels, dtype=torch.int64 if integer else torch.float32)
        sizes = None if built.group_sizes is None else torch.tensor(built.group_sizes)
        batch = pack(tokenized, labels=labels, group_sizes=sizes)
        row_pairs = torch.ones(len(built.pairs), dtype=torch.int64) if sizes is None else sizes
        # First, because transformers takes the first tensor's length for the number of rows.
        return PackedInputs(
            row_pairs=row_pairs, truncated=torch.tensor(tokenized.truncated), **batch.to_dict()
        )

    def check(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Raises what these rows would raise in training, so that mistakes show before it.

        Raises:
            DataError: Rows that the loss cannot use.
        """
        try:
            self.pairs(self.shape(columns))
        except ColumnError as error:
            lists = "lists" in self.pairs.layouts and "pairs" not in self.pairs.layouts
            if lists and not self.shape.group_queries and is_flat(columns):
                raise ColumnError(
                    f"{error} If several rows belong to one query, batch_sampler='query_grouped' "
                    "makes lists of them."
                ) from error
            raise


CrossEncoderDataCollator = PackingCollator
"""Sentence Transformers' name for what makes batches; here it tokenises, too."""


@dataclass(frozen=True)
class CollatorByName:
    """A collator for each data set of a mixture.

    Attributes:
        collators: Name of the data set -> what makes a batch of its rows. Under None is what
            serves all data sets that have no name, or none of these names.
    """

    collators: Mapping[str | None, Callable[[Any], PackedInputs]]

    def __call__(self, rows: Any) -> PackedInputs:
        """The batch, which knows the name of its data set.

        Raises:
            InputError: Rows of a data set that the trainer was not made for.
        """
        name = getattr(rows, "dataset_name", None)
        collator = self.collators.get(name, self.collators.get(None))
        if collator is None:
            known = ", ".join(map(repr, self.collators))
            what = "a data set without a name" if name is None else f"the data set {name!r}"
            raise InputError(
                f"the trainer has no loss for {what}; it was made for {known}. Pass the data as "
                "a dict with one of these names."
            )
        inputs = collator(rows)
        if name is not None:
            inputs["dataset_name"] = name
        return inputs
