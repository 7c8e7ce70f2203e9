"""One query and its documents, checked, scored and sorted: the same for every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankwright.errors import InputError, InputTypeError
from rankwright.model.fusing import fuse
from rankwright.model.pairs import Pair
from rankwright.model.rank import rank_documents, read_documents

__all__ = ["RankRequest", "RankingModel", "rank_request"]


@dataclass(frozen=True)
class RankRequest:
    """What a caller of ``rank`` asks for; see `rankwright.CrossEncoder.rank`."""

    query: str
    documents: Iterable[str | Mapping[str, Any]]
    top_k: int | None = None
    return_documents: bool = False
    ids: Sequence[Any] | None = None
    metadata: Sequence[Any] | None = None
    first_stage_scores: Sequence[float] | None = None


@dataclass(frozen=True)
class RankingModel:
    """What ranking needs to know of a model.

    Attributes:
        num_labels: Outputs per pair.
        fusion: How first-stage scores are mixed in; None if the model does not know.
        own_activation: Whether scores come from the model's own activation.
    """

    num_labels: int
    fusion: Mapping[str, Any] | None
    own_activation: bool


def rank_request(
    request: RankRequest, model: RankingModel, score: Callable[[list[Pair]], list[float]]
) -> list[dict[str, Any]]:
    """The documents, best first, as `rankwright.CrossEncoder.rank` returns them.

    Args:
        request: What was asked.
        model: About the model.
        score: Pairs to scores.

    Raises:
        InputError: Arguments that cannot be used, or a model with several labels.
        ScoreError: A score is NaN, or a first-stage score is not finite.
    """
    query, top_k = request.query, request.top_k
    if model.num_labels != 1:
        raise InputError(
            f"rank needs a model with one label; this one has {model.num_labels}. "
            "Use predict and sort by the label you want."
        )
    if not isinstance(query, str):
        raise InputTypeError(f"query is {query!r:.60} ({type(query).__name__}); not a string.")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise InputError(f"top_k={top_k!r}; expected at least 1, or None for all documents.")
    if request.first_stage_scores is not None:
        _check_fusable(model)
    candidates = read_documents(request.documents, request.ids, request.metadata)
    scores = score([(query, text) for text in candidates.texts])
    columns: dict[str, Sequence[float]] = {"score": scores}
    if request.first_stage_scores is not None and model.fusion is not None:
        first = list(request.first_stage_scores)
        mixed = fuse(model.fusion, scores, first)
        columns = {"score": mixed, "reranker_score": scores, "first_stage_score": first}
    return rank_documents(candidates, columns, top_k, request.return_documents)


def _check_fusable(model: RankingModel) -> None:
    if model.fusion is None:
        raise InputError(
            "first_stage_scores was passed, but this model does not know how to mix them in. "
            "Tune the weight on validation queries and set model.fusion = fusion.to_dict()."
        )
    if not model.own_activation:
        raise InputError(
            "first_stage_scores and activation_fn cannot be passed together: the weight was "
            "tuned for the model's own activation."
        )
