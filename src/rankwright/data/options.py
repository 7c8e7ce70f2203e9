"""What can be asked of the loader beyond the source itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from rankwright.errors import InputError, InputTypeError

__all__ = ["LoadOptions"]


@dataclass(frozen=True)
class LoadOptions:
    """How to read a source into queries, documents and judgements.

    Attributes:
        query_column: Column of the queries; None finds it by name.
        document_column: Column of the documents; None finds it by name.
        label_column: Column of the labels; None finds it by name.
        negative_columns: Columns of negative documents; empty finds them by name.
        subset: Configuration of a hub data set.
        split: Split of a hub data set, a slice such as ``"train[:1000]"`` included. Only this
            split is read, and dev and test are carved from it. None reads all splits.
        sql: Query text, for a database URL such as ``sqlite:///shop.db``.
        dev_fraction: Share of the queries that becomes dev where no dev split came.
        test_fraction: Share of the queries that becomes test where no test split came.
        seed: Decides, with the query text, which query goes where.
        max_queries: At most this many queries in each split, chosen by the seed. None keeps all.
            Documents are kept in any case: they are what is searched.
        relevance_threshold: A label from here up is relevant. Grades above it are kept, counted
            from 1 (see :func:`rankwright.data.labels.to_grades`). Where labels are fractions
            between 0 and 1 and the threshold is left at 1, half (0.5) is relevant.
        drop_empty: Leave out rows with an empty query or document, with a warning that counts
            them, instead of refusing the data.
        revision: Branch, tag or commit of a hub data set.
        token: Access token of the hub; None uses the one that was logged in with.

    Raises:
        InputError: A value outside its range.
        InputTypeError: A bare string for ``negative_columns``.
    """

    query_column: str | None = None
    document_column: str | None = None
    label_column: str | None = None
    negative_columns: tuple[str, ...] = ()
    subset: str | None = None
    split: str | None = None
    sql: str | None = None
    dev_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 12
    max_queries: int | None = None
    relevance_threshold: float = 1
    drop_empty: bool = False
    revision: str | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        names: object = self.negative_columns
        if isinstance(names, str):
            raise InputTypeError(
                f"negative_columns must be a list of names such as ({names!r},), not a bare string."
            )
        object.__setattr__(self, "negative_columns", tuple(self.negative_columns))
        for name in ("dev_fraction", "test_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {value!r}.")
        if self.dev_fraction + self.test_fraction >= 1:
            raise InputError(
                f"dev_fraction {self.dev_fraction} and test_fraction {self.test_fraction} leave "
                "nothing to train on: their sum must be below 1."
            )
        if self.max_queries is not None and self.max_queries < 1:
            raise InputError(f"max_queries must be at least 1, not {self.max_queries!r}.")
        if not self.relevance_threshold > 0:
            raise InputError(
                f"relevance_threshold must be above 0, not {self.relevance_threshold!r}: "
                "with 0 or less, pairs labelled 0 would count as relevant."
            )
