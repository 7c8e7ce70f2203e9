"""`LogitScore`: which two tokens a language model is scored by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import InputError, InputTypeError

__all__ = ["LogitScore", "find_tokens", "spelling"]


@dataclass(frozen=True)
class LogitScore:
    """Scores pairs by a language model's next token, as Qwen3-Reranker does.

    After the prompt the model could answer with any token of its vocabulary. The score is the
    logit of one answer less that of another, which is the log-odds of the two; only these two
    rows of the output matrix are computed. Its sigmoid, which ``predict`` gives by default, is the
    probability of the first answer among the two (Nogueira et al. 2020, "Document Ranking with a
    Pretrained Sequence-to-Sequence Model", arXiv 2003.06713).

    Attributes:
        true_token: The answer that says "relevant": a token of the vocabulary, or its id.
        false_token: The other answer. None: the score is the first one's logit alone.
    """

    true_token: str | int = "yes"
    false_token: str | int | None = "no"


def find_tokens(score: LogitScore, tokenizer: Any) -> TwoTokens:
    """The ids of the two tokens.

    Raises:
        InputTypeError: A token that is neither a text nor an id.
        InputError: A text that is not one token of this vocabulary, or two equal tokens.
    """
    true_id = _find(score.true_token, "true_token", tokenizer)
    if score.false_token is None:
        return TwoTokens(true_id)
    false_id = _find(score.false_token, "false_token", tokenizer)
    if true_id == false_id:
        raise InputError(
            f"true_token={score.true_token!r} and false_token={score.false_token!r} are the same "
            f"token, {true_id}: every score would be 0. Name two different answers."
        )
    return TwoTokens(true_id, false_id)


def _find(token: Any, argument: str, tokenizer: Any) -> int:
    size = len(tokenizer)
    if isinstance(token, int) and not isinstance(token, bool):
        if not 0 <= token < size:
            raise InputError(f"{argument}={token} is no id of this vocabulary of {size:,} tokens.")
        return token
    if not isinstance(token, str):
        raise InputTypeError(
            f"{argument} is {token!r} ({type(token).__name__}); expected a token such as 'yes', "
            "or its id."
        )
    found = tokenizer.get_vocab().get(token)
    if found is not None:
        return int(found)
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return int(ids[0])
    pieces = tokenizer.convert_ids_to_tokens(ids)
    raise InputError(
        f"{argument}={token!r} is not one token of this vocabulary but {len(ids)}: {pieces}. Name "
        "an answer that is, as LogitScore(true_token=..., false_token=...), or pass token ids."
    )


def spelling(token_id: int, tokenizer: Any) -> str:
    """A token as it is written in a prompt."""
    return str(tokenizer.decode([token_id])).strip()
