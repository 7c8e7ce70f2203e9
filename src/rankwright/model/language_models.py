"""What makes a language model a reranker: which tokens are read, and what is put to it."""

from __future__ import annotations

import logging
from typing import Any

from rankwright.engine.adapters import inner_model
from rankwright.engine.last_token import is_causal, reads_last_token
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError, InputTypeError
from rankwright.model.chat import Templates, choose_templates
from rankwright.model.chat_files import ChatFiles
from rankwright.model.loading import Loaded
from rankwright.model.logit_score import LogitScore, find_tokens

__all__ = ["Parts", "language_model_parts", "parts_of_model"]

logger = logging.getLogger(__name__)

Parts = tuple[TwoTokens | None, Templates | None]


def language_model_parts(
    loaded: Loaded, logit_score: LogitScore | bool | None, template: str | None
) -> Parts:
    """The tokens and templates of a loaded folder; both None for plain cross-encoders.

    Args:
        loaded: The folder's model, tokenizer and files.
        logit_score: The caller's tokens; None takes the folder's, True the usual ones.
        template: The caller's template; None takes the folder's.

    Raises:
        InputError: Tokens that the vocabulary does not have, or a template without a slot.
        InputTypeError: ``logit_score`` is something else.
        ModelError: A chat template that cannot be used.
    """
    return _parts(loaded.model, loaded.tokenizer, loaded.layout.chat, logit_score, template)


def parts_of_model(
    model: Any, tokenizer: Any, logit_score: LogitScore | None, template: str | None
) -> Parts:
    """As `language_model_parts`, for a model that did not come from a folder."""
    if logit_score is not None and not is_causal(model):
        raise InputError(
            f"logit_score was given, but {type(model).__name__} is no causal language model. "
            "Leave it out."
        )
    return _parts(model, tokenizer, ChatFiles(), logit_score, template)


def _parts(
    model: Any,
    tokenizer: Any,
    files: ChatFiles,
    logit_score: LogitScore | bool | None,
    template: str | None,
) -> Parts:
    if logit_score is not None and not isinstance(logit_score, (LogitScore, bool)):
        raise InputTypeError(
            f"logit_score is {logit_score!r} ({type(logit_score).__name__}); expected a "
            "LogitScore, such as LogitScore(true_token='yes', false_token='no')."
        )
    tokens = None
    if is_causal(model):
        tokens = files.tokens
        if isinstance(logit_score, LogitScore) or tokens is None:
            chosen = logit_score if isinstance(logit_score, LogitScore) else LogitScore()
            tokens = find_tokens(chosen, tokenizer)
        model.config.num_labels = 1
    elif reads_last_token(model):
        _agree_on_padding(model, tokenizer)
    templates = choose_templates(tokenizer, files, tokens, template)
    if templates is not None and not hasattr(tokenizer, "backend_tokenizer"):
        raise InputError(
            f"{type(tokenizer).__name__} is no fast tokenizer, which language models need here. "
            "Use a model folder that has a tokenizer.json."
        )
    return tokens, templates


def _agree_on_padding(model: Any, tokenizer: Any) -> None:
    """Names the padding token where only the tokenizer knows it, for programs that pad.

    Scores here never depend on padding; others look for the last token that is none.
    """
    config = inner_model(model).config.get_text_config()
    known, padding = config.pad_token_id, tokenizer.pad_token_id
    if known is None and padding not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id):
        config.pad_token_id = padding
    elif known is not None and padding is not None and known != padding:
        logger.warning(
            "The model's padding token is %d but the tokenizer's is %d. Programs that pad with "
            "the tokenizer read the score off the wrong token; scores here are not affected. Set "
            "model.config.pad_token_id = %d before training or saving.",
            *(known, padding, padding),
        )
