"""In-batch negatives: the documents of other rows serve as negatives of a row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankwright.data.columns import label_column
from rankwright.errors import ColumnError
from rankwright.losses.pairs import PairBuilder, PairRows

__all__ = ["InBatchPairBuilder"]


@dataclass(frozen=True)
class InBatchPairBuilder(PairBuilder):
    """Groups of the positive, negatives drawn from the other rows, and the row's own negatives.

    Documents equal to one of the row's own, and documents of rows with the same query, are never
    drawn. What is drawn follows from ``seed`` and the texts of the batch alone, so it does not
    depend on dataloader workers, and resuming repeats it.

    Attributes:
        num_negatives: How many to draw per row; None for all there are.
        seed: For the drawing.
    """

    num_negatives: int | None = 4
    seed: int = 0

    def __call__(self, columns: Mapping[str, Sequence[Any]]) -> PairRows:
        """See `PairBuilder`; the rows need no labels and may have none.

        Raises:
            ColumnError: Fewer than two columns of texts, or a column of labels.
        """
        label = label_column(list(columns))
        if label is not None:
            raise ColumnError(
                f"{self.loss} takes no labels: the second column is relevant, the others are not. "
                "Remove this column with dataset.remove_columns(...).",
                column=label,
            )
        rows = self._own(columns)
        queries = [row[0][0] for row in rows]
        documents = [[document for _, document in row] for row in rows]
        generator = np.random.Generator(np.random.PCG64(self._seed_of(rows)))
        pairs: list[tuple[str, str]] = []
        labels: list[float] = []
        sizes: list[int] = []
        for query, own in zip(queries, documents, strict=True):
            drawn = self._draw(query, own, queries, documents, generator)
            group = [own[0], *drawn, *own[1:]]
            pairs.extend((query, document) for document in group)
            labels.extend(float(i == 0) for i in range(len(group)))
            sizes.append(len(group))
        return PairRows(pairs, labels, sizes)

    def _own(self, columns: Mapping[str, Sequence[Any]]) -> list[list[tuple[str, str]]]:
        """Each row's pairs, the positive one first; checked as `PairBuilder` does."""
        plain = PairBuilder(
            self.loss, ("pairs", "tuples"), first_is_positive=True, prompt=self.prompt
        )
        # With the positive twice, a row of two columns is a tuple like the others.
        names = list(columns)
        whole = dict(columns) if len(names) != 2 else {**columns, "": columns[names[1]]}
        built = plain(whole)
        size = len(whole) - 1
        keep = 1 if len(names) == 2 else size
        starts = range(0, len(built.pairs), size)
        return [built.pairs[start : start + keep] for start in starts]

    def _draw(
        self,
        query: str,
        own: list[str],
        queries: list[str],
        documents: list[list[str]],
        generator: np.random.Generator,
    ) -> list[str]:
        others = [
            document
            for other, found in zip(queries, documents, strict=True)
            if other != query
            for document in found
            if document not in own
        ]
        others = list(dict.fromkeys(others))
        if self.num_negatives is None or len(others) <= self.num_negatives:
            return others
        chosen = generator.choice(len(others), self.num_negatives, replace=False)
        return [others[i] for i in chosen]

    def _seed_of(self, rows: list[list[tuple[str, str]]]) -> int:
        digest = hashlib.blake2b(str(self.seed).encode(), digest_size=8)
        for row in rows:
            for text in (row[0][0], *(document for _, document in row)):
                digest.update(text.encode() + b"\0")
        return int.from_bytes(digest.digest(), "little")
