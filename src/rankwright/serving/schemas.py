"""Bodies of requests and answers, as clients of Cohere, Jina, TEI and vLLM know them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

__all__ = [
    "AnyRerank",
    "CohereRerank",
    "Document",
    "RelevantSpans",
    "Rerank",
    "Score",
    "TeiPredict",
    "TeiRerank",
    "text_of",
]


def _whole(text: str) -> str:
    """Refuses lone surrogates, which JSON can spell and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"not valid Unicode: a lone surrogate at character {error.start}"
        ) from None
    return text


Text = Annotated[str, AfterValidator(_whole)]
Query = Annotated[Text, Field(min_length=1)]
Structured = dict[str, Any]
Document = Text | Structured
How = Literal["first", "max", "mean"]
MaxTokens = Annotated[
    Annotated[int, Field(ge=-1)] | None,
    Field(description="Longer pairs are cut; -1 and 0 leave that to the model."),
]


class _Body(BaseModel):
    # Clients send fields that other servers know; they must not fail here.
    model_config = ConfigDict(extra="ignore")

    deadline_ms: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Give up after so many milliseconds."
    )


class RelevantSpans(BaseModel):
    """Which stretches of a document made its score."""

    model_config = ConfigDict(extra="ignore")

    mode: Literal["enabled", "disabled"] = "disabled"
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.1
    max_spans: Annotated[int, Field(ge=1)] | None = None


class _RerankFields(_Body):
    model: Text | None = Field(None, description="Any name: one model is served.")
    query: Query
    documents: Annotated[list[Document], Field(min_length=1)]
    max_tokens_per_doc: Annotated[int, Field(ge=0)] | None = None
    max_tokens_per_query: Annotated[int, Field(ge=0)] | None = None
    rank_fields: list[str] | None = Field(
        None, description="Fields of structured documents that are shown to the model."
    )
    score_threshold: float | None = Field(
        None, allow_inf_nan=False, description="Leave out results that score lower."
    )
    long_documents: How | None = Field(
        None, description="How documents longer than the model's window are read."
    )
    relevant_spans: RelevantSpans | None = None


class Rerank(_RerankFields):
    """Jina's, vLLM's and Cohere's first request."""

    top_n: Annotated[int, Field(ge=0)] | None = Field(None, description="0: all.")
    return_documents: bool | None = None
    truncate_prompt_tokens: MaxTokens = None
    use_activation: bool | None = Field(None, description="Whether scores are not logits.")
    instruction: Text | None = Field(
        None, description="What to look for; for language models whose template has a place for it."
    )
    max_chunks_per_doc: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Most windows of a long document."
    )


class CohereRerank(_RerankFields):
    """Cohere's second request."""

    top_n: Annotated[int, Field(ge=1)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = 4096
    priority: Annotated[int, Field(ge=0, le=999)] = 0


class TeiRerank(_Body):
    """The request of Text Embeddings Inference."""

    query: Query
    texts: Annotated[list[Text], Field(min_length=1)]
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"
    raw_scores: bool = False
    return_text: bool = False


class TeiPredict(_Body):
    """Text Embeddings Inference: one pair, or a list of pairs."""

    inputs: (
        Annotated[list[Text], Field(min_length=2, max_length=2)]
        | Annotated[
            list[Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)
        ]
    )
    truncate: bool | None = None
    raw_scores: bool = False


class Score(_Body):
    """vLLM's request: one text against many, or texts pair by pair."""

    model: Text | None = None
    text_1: Text | list[Text] | None = None
    text_2: Text | list[Text] | None = None
    queries: Text | list[Text] | None = None
    documents: Text | list[Text] | None = None
    truncate_prompt_tokens: MaxTokens = None
    use_activation: bool | None = Field(None, description="Whether scores are not logits.")


def _which(body: Any) -> str:
    return "tei" if isinstance(body, dict) and "texts" in body else "jina"


AnyRerank = Annotated[
    Annotated[TeiRerank, Tag("tei")] | Annotated[Rerank, Tag("jina")], Discriminator(_which)
]


def text_of(document: Document, index: int, rank_fields: list[str] | None) -> str:
    """What the model reads of a document.

    Structured documents are written as ``field: value`` lines, of ``rank_fields`` if given, else
    of ``text`` alone.

    Raises:
        ValueError: A structured document without text.
    """
    if isinstance(document, str):
        return document
    if rank_fields:
        missing = [name for name in rank_fields if name not in document]
        if missing:
            raise ValueError(f"documents[{index}] has no field {missing[0]!r} of rank_fields")
        return _whole("\n".join(f"{name}: {document[name]}" for name in rank_fields))
    text = document.get("text")
    if not isinstance(text, str):
        found = sorted(map(str, document))[:5]
        raise ValueError(
            f"documents[{index}] is an object with {found}; expected a string, an object with a "
            "string 'text', or rank_fields that name its fields"
        )
    return _whole(text)
