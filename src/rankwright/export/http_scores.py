"""Golden pairs replayed on a server: any that speaks the schema of TEI or of Cohere.

A server's scores are compared with what its schema promises: the raw score of Text Embeddings
Inference is the logit, Cohere's ``relevance_score`` lies between 0 and 1.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from rankwright.errors import DataNotFoundError, FormatError, InputError
from rankwright.model.golden import Golden

__all__ = ["SCHEMAS", "HttpOptions", "Schema", "replay"]

_BATCH = 32
"""Documents per request: what TEI accepts unless it is told otherwise."""


@dataclass(frozen=True)
class HttpOptions:
    """Which server, and how to speak to it.

    Attributes:
        url: Its root, such as ``http://127.0.0.1:8080``.
        schema: ``"tei"``, ``"cohere"``, or ``"auto"`` for the first of them it understands.
        api_key: Sent as bearer token; None for none.
        model: Model name for schemas that ask for one.
        timeout: Seconds per request.
    """

    url: str
    schema: str = "auto"
    api_key: str | None = None
    model: str = "rankwright"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"url={self.url!r}; expected one such as http://127.0.0.1:8080.")
        if self.schema not in ("auto", *SCHEMAS):
            raise InputError(
                f"schema={self.schema!r} is not known; choose one of {('auto', *SCHEMAS)}."
            )


@dataclass(frozen=True)
class Schema:
    """One way to ask a server for scores.

    Attributes:
        path: Below the server's root.
        body: ``(query, documents, model name)`` to the request.
        items: The answer to its list of results.
        score: Name of the score in a result.
        reference: What the scores are to be compared with.
    """

    path: str
    body: Callable[[str, Sequence[str], str], Mapping[str, Any]]
    items: Callable[[Any], Any]
    score: str
    reference: Callable[[Golden], Golden]


def _raw(golden: Golden) -> Golden:
    return replace(golden, scores=golden.logits)


def _between_0_and_1(golden: Golden) -> Golden:
    if golden.scores.min() >= 0 and golden.scores.max() <= 1:
        return golden
    with np.errstate(over="ignore"):
        return replace(golden, scores=(1 / (1 + np.exp(-golden.logits))).astype(np.float32))


SCHEMAS: dict[str, Schema] = {
    "tei": Schema(
        "/rerank",
        lambda query, texts, model: {
            "query": query,
            "texts": list(texts),
            "raw_scores": True,
            "truncate": True,
        },
        lambda answer: answer,
        "score",
        _raw,
    ),
    "cohere": Schema(
        "/v2/rerank",
        lambda query, texts, model: {
            "model": model,
            "query": query,
            "documents": list(texts),
            "top_n": len(texts),
        },
        lambda answer: answer["results"],
        "relevance_score",
        _between_0_and_1,
    ),
}
"""By name."""


def replay(golden: Golden, options: HttpOptions) -> tuple[str, Golden, np.ndarray[Any, Any]]:
    """Scores of all golden pairs from a server.

    Returns:
        The schema's name, the golden pairs with what the scores are to be compared with, and
        ``(P,)`` float32 scores in their order.

    Raises:
        DataNotFoundError: The server cannot be reached, or knows none of the schemas.
        FormatError: An answer that does not follow the schema.
        InputError: A model with several labels, which these schemas cannot express.
    """
    if golden.logits.shape[1] != 1:
        raise InputError(
            f"This model has {golden.logits.shape[1]} labels; rerank servers give one score."
        )
    names = list(SCHEMAS) if options.schema == "auto" else [options.schema]
    refusals = []
    for name in names:
        schema = SCHEMAS[name]
        scores = np.empty(len(golden.pairs), np.float32)
        try:
            for query, where in golden.slices():
                places = range(len(golden.pairs))[where]
                for start in range(0, len(places), _BATCH):
                    part = places[start : start + _BATCH]
                    texts = query.documents[start : start + _BATCH]
                    scores[part] = _ask(query.query, texts, schema, options)
        except _RefusedError as error:
            refusals.append(str(error))
            continue
        return name, schema.reference(golden), scores
    raise DataNotFoundError("; ".join(refusals) + ". Check the address and --schema.")


class _RefusedError(Exception):
    """The server does not know this path, or not this body."""


def _ask(
    query: str, texts: Sequence[str], schema: Schema, options: HttpOptions
) -> np.ndarray[Any, Any]:
    address = options.url.rstrip("/") + schema.path
    headers = {"Content-Type": "application/json"}
    if options.api_key:
        headers["Authorization"] = f"Bearer {options.api_key}"
    body = json.dumps(schema.body(query, texts, options.model)).encode("utf-8")
    request = urllib.request.Request(address, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=options.timeout) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(300).decode("utf-8", "replace")
        message = f"{address} answered {error.code}: {' '.join(text.split())}"
        if error.code in (400, 404, 405, 422):
            raise _RefusedError(message) from error
        raise DataNotFoundError(f"{message}.") from error
    except (OSError, ValueError) as error:
        raise DataNotFoundError(
            f"{address} cannot be asked ({error}). Is the server running there?"
        ) from error
    try:
        found = np.full(len(texts), np.nan, np.float32)
        for item in schema.items(answer):
            found[int(item["index"])] = float(item[schema.score])
        if np.isnan(found).any():
            raise ValueError(f"{int(np.isnan(found).sum())} of {len(texts)} scores are missing")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{address} gave an answer that does not follow its schema ({error}): {answer!r:.200}"
        ) from error
    return found
