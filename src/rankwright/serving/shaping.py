"""Scores as the bodies of answers; see `rankwright.serving.answers`."""

from __future__ import annotations

import math
from typing import Any

from rankwright.serving.schemas import CohereRerank, RelevantSpans, Rerank
from rankwright.serving.service import Answer, Scored

__all__ = ["best", "meta", "result"]


def best(answer: Answer, body: Rerank | CohereRerank) -> list[Scored]:
    """What a request gets of an answer, best first; equal scores keep their order."""
    ranked = sorted(answer.results, key=lambda item: -item.score)  # stable: ties keep their order
    if body.score_threshold is not None:
        ranked = [item for item in ranked if item.score >= body.score_threshold]
    return ranked[: body.top_n or None]


def result(item: Scored, spans: RelevantSpans | None) -> dict[str, Any]:
    """One result, with the stretches of its document if they were asked for."""
    shaped: dict[str, Any] = {"index": item.index, "relevance_score": item.score}
    if spans is not None and spans.mode == "enabled":
        found = [(window, s) for window, s in item.spans if s >= spans.threshold]
        shaped["relevant_spans"] = [
            {"start": window.start, "end": window.stop, "score": s}
            for window, s in found[: spans.max_spans]
        ]
    return shaped


def meta(answer: Answer, version: str) -> dict[str, Any]:
    """About the request as a whole, as Cohere tells it."""
    warnings = [f"{text}; it was ignored" for text in answer.ignored]
    if answer.truncated:
        warnings.append(
            f"{answer.truncated} of {len(answer.results)} documents were longer than the model "
            "reads and lost their ends; long_documents='max' reads them whole"
        )
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": math.ceil(len(answer.results) / 100)},
        "tokens": {"input_tokens": answer.tokens, "output_tokens": 0},
        "truncated_documents": answer.truncated,
        **({"warnings": warnings} if warnings else {}),
    }
