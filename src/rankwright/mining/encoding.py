"""What counts as an encoder, and how texts go through one."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from tqdm import tqdm

from rankwright.errors import InputError, InputTypeError, ScoreError
from rankwright.mining.arrays import FloatArray
from rankwright.mining.progress import bars_wanted

__all__ = ["AnyEncoder", "EncodeOptions", "Encoder", "QueryDocumentEncoder", "encode_texts"]

logger = logging.getLogger(__name__)

Side = Literal["query", "document"]


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors with one method for both sides."""

    def encode(self, texts: Any, /) -> Any:
        """``(N, dim)`` array or tensor for a list of N texts."""


@runtime_checkable
class QueryDocumentEncoder(Protocol):
    """Texts to vectors with a method for each side, as asymmetric models need."""

    def encode_query(self, texts: Any, /) -> Any:
        """``(N, dim)`` array or tensor for a list of N queries."""

    def encode_document(self, texts: Any, /) -> Any:
        """``(N, dim)`` array or tensor for a list of N documents."""


AnyEncoder: TypeAlias = Encoder | QueryDocumentEncoder | Callable[[list[str]], Any]


@dataclass(frozen=True)
class EncodeOptions:
    """How one side's texts are encoded.

    Attributes:
        batch_size: Texts at a time.
        prompt: Text put before every text.
        prompt_name: Key into the encoder's own ``prompts``; ``prompt`` goes first.
        pool: A pool of workers made by the encoder's ``start_multi_process_pool``.
        show_progress_bar: None: shown when the logger is at INFO or lower.
    """

    batch_size: int = 64
    prompt: str | None = None
    prompt_name: str | None = None
    pool: Any = None
    show_progress_bar: bool | None = None


def encode_texts(
    encoder: AnyEncoder, texts: Sequence[str], side: Side, options: EncodeOptions | None = None
) -> FloatArray:
    """``(N, dim)`` float32 embeddings, each of length 1 (a zero vector stays zero).

    Only arguments that the encoder's method names are passed on. A prompt that it does not know
    is put before the texts here.

    Raises:
        InputTypeError: ``encoder`` is no encoder.
        InputError: ``prompt_name`` is unknown to the encoder, or the array it returned has not
            one row per text.
        ScoreError: An embedding holds NaN or infinity.
    """
    options = options or EncodeOptions()
    method = _method(encoder, side)
    known = _parameters(method)
    texts = list(texts)
    arguments: dict[str, Any] = {}
    if options.prompt is not None or options.prompt_name is not None:
        if {"prompt", "prompt_name"} <= known:
            arguments = {"prompt": options.prompt, "prompt_name": options.prompt_name}
        else:
            prompt = _prompt(encoder, options)
            texts = [prompt + text for text in texts]
    show = bars_wanted(options.show_progress_bar, logger)
    offered = {
        "batch_size": options.batch_size,
        "show_progress_bar": show,
        "convert_to_numpy": True,
    }
    if options.pool is not None:
        offered["pool"] = options.pool
    arguments |= {name: value for name, value in offered.items() if name in known}
    # A method with either argument is written for long lists; others get a batch at a time.
    if known & {"batch_size", "show_progress_bar"}:
        vectors = _checked(method(texts, **arguments), texts, encoder)
    else:
        starts = range(0, len(texts), options.batch_size)
        bar = tqdm(starts, desc=f"Encoding {side} texts", disable=not show)
        parts = [texts[start : start + options.batch_size] for start in bar]
        vectors = np.concatenate(
            [_checked(method(part, **arguments), part, encoder) for part in parts]
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, 1e-12)
    return vectors


def _method(encoder: AnyEncoder, side: Side) -> Callable[..., Any]:
    for name in (f"encode_{side}", "encode"):
        method = getattr(encoder, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    if callable(encoder):
        return encoder
    raise InputTypeError(
        f"{type(encoder).__name__} is no encoder: expected encode_query and encode_document, "
        "encode, or a function from a list of texts to an array of one row per text."
    )


def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(method).parameters)
    except (TypeError, ValueError):  # a function written in C has no signature to read
        return frozenset()


def _prompt(encoder: AnyEncoder, options: EncodeOptions) -> str:
    if options.prompt is not None:
        return options.prompt
    prompts = getattr(encoder, "prompts", None) or {}
    if options.prompt_name not in prompts:
        raise InputError(
            f"prompt name {options.prompt_name!r} is unknown to {type(encoder).__name__}; it has "
            f"{sorted(prompts) or 'none'}. Pass the prompt itself instead."
        )
    return str(prompts[options.prompt_name])


def _checked(output: Any, texts: list[str], encoder: AnyEncoder) -> FloatArray:
    if hasattr(output, "detach"):  # a tensor, perhaps on another device or in bfloat16
        output = output.detach().float().cpu().numpy()
    elif isinstance(output, (list, tuple)):
        output = np.stack([np.asarray(row, dtype=np.float32) for row in output])
    vectors = np.array(output, dtype=np.float32, order="C")
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise InputError(
            f"{type(encoder).__name__} returned an array of shape {vectors.shape} for "
            f"{len(texts)} texts; expected ({len(texts)}, dimensions)."
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ScoreError(
            f"{type(encoder).__name__} gave NaN or infinity for {len(bad)} of {len(texts)} texts; "
            f"the first is number {bad[0]}: {texts[bad[0]][:80]!r}. Load the encoder in float32, "
            "or remove these texts."
        )
    return vectors
