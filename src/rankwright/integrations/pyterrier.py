"""PyTerrier: a transformer for pipelines; ``pip install 'rankwright[pyterrier]'``.

It needs data frames only: without PyTerrier it is an object with ``transform``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rankwright.errors import ColumnError
from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer

if TYPE_CHECKING:
    import pandas as pd

    Base: type = object
else:
    try:
        from pyterrier import Transformer as Base  # brings >>, %, + and search
    except ModuleNotFoundError as error:
        if error.name != "pyterrier":
            raise
        Base = object

__all__ = ["RankwrightReranker"]


class RankwrightReranker(Base):
    """Scores each query's documents and ranks them anew: ``bm25 % 100 >> RankwrightReranker(...)``.

    Args:
        model: A `CrossEncoder`, a `Reranker`, or the folder or hub name of one.
        text_field: Column with the documents' texts; ``pt.text.get_text`` adds one.
        backend: ``"auto"``, ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``;
            see `rankwright.integrations.loading.Loading`.
        device: For a `CrossEncoder`; None picks the best there is.
        load_options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``.

    Raises:
        InputError: Options that cannot be used.
        InputTypeError: ``model`` is no model.
    """

    def __init__(
        self,
        model: Any,
        text_field: str = "text",
        *,
        backend: str = "auto",
        device: str | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.text_field = text_field
        self._scorer = PairScorer(model, Loading(backend, device, dict(load_options or {})))

    def __repr__(self) -> str:
        return f"RankwrightReranker({self._scorer.name!r}, text_field={self.text_field!r})"

    def transform_inputs(self) -> list[list[str]]:
        """The columns that are needed, for PyTerrier's checks of pipelines."""
        return [["qid", "query", "docno", self.text_field]]

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The rows with new scores and ranks.

        Args:
            inp: One row per query and document: ``qid``, ``query``, ``docno`` and the text.

        Returns:
            A new frame with the columns of ``inp``, ``score`` and ``rank`` (0 for the best)
            replaced or added: queries in the order they came in, their documents best first,
            equal scores in the order they came in.

        Raises:
            ColumnError: A missing column, or a cell of query or text without text.
            ScoreError: The model gave NaN.
        """
        needed = self.transform_inputs()[0]
        missing = [name for name in needed if name not in inp.columns]
        if missing:
            raise ColumnError(
                f"RankwrightReranker needs the columns {', '.join(needed)}, but "
                f"{', '.join(missing)} is missing; there are {', '.join(map(str, inp.columns))}. "
                f"pt.text.get_text(index, {self.text_field!r}) adds texts to a retriever's results."
            )
        queries, texts = inp["query"].tolist(), inp[self.text_field].tolist()
        for name, values in (("query", queries), (self.text_field, texts)):
            for row, value in enumerate(values):
                if not isinstance(value, str):
                    raise ColumnError(
                        f"row {row} holds {value!r:.60}; expected a text.", column=name
                    )
        scores = self._scorer.scores(list(zip(queries, texts, strict=True)))
        frame = inp.drop(columns=["score", "rank"], errors="ignore").reset_index(drop=True)
        frame["score"] = np.asarray(scores, np.float64)
        place = {qid: i for i, qid in enumerate(dict.fromkeys(inp["qid"].tolist()))}
        first = [place[qid] for qid in inp["qid"].tolist()]
        order = sorted(range(len(scores)), key=lambda i: (first[i], -scores[i]))
        frame = frame.iloc[order].reset_index(drop=True)
        frame["rank"] = frame.groupby("qid", sort=False).cumcount()
        return frame
