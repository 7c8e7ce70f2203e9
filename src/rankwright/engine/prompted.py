"""Pairs to token ids through a template, for language models.

The text around a pair ends in the words after which the model's answer is read, so truncation
takes tokens from the document, then from the query, and never from the template. Nor can a text
pass itself off as a part of the template: what looks like a control token in a query, a document
or an instruction is encoded as the characters it is written with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rankwright.engine.templates import DOCUMENT, INSTRUCTION, QUERY, PromptTemplate, Rendered
from rankwright.engine.tokenize import PairTokenizer, TokenizedPairs
from rankwright.errors import InputError, ModelError

__all__ = ["TemplateTokenizer", "split_prompt"]

Ids = NDArray[np.int64]

SEAMS = 4
"""How many more tokens two texts may have inside a template than outside: their first and last
words may be split otherwise."""


@dataclass(frozen=True)
class _Tokens:
    """Token ids of one text, and the characters ``begin`` to ``end`` that each stands for."""

    ids: Ids
    begin: Ids
    end: Ids

    def inside(self, region: tuple[int, int]) -> Ids:
        """Positions of the tokens that lie wholly within a region, so that they can be cut.

        A token that also holds a character of the template does not.
        """
        begin, end = region
        within = (self.begin >= begin) & (self.end <= end)
        empty = self.begin == self.end
        return np.flatnonzero(within & (~empty | ((self.begin > begin) & (self.end < end))))

    def overlapping(self, regions: Sequence[tuple[str, int, int]]) -> NDArray[np.bool_]:
        """Which tokens hold a character of a region."""
        found = np.zeros(len(self.ids), bool)
        for _, begin, end in regions:
            found |= (self.begin < end) & (self.end > begin)
        return found


class _Encoders:
    """The two ways in which a tokenizer reads a text: with control tokens and without.

    Args:
        tokenizer: A transformers tokenizer with a ``tokenizers`` backend; it is not changed.
        fixed: Texts of the template. Added tokens that they contain are control tokens too.

    Raises:
        ModelError: No such backend.
    """

    def __init__(self, tokenizer: Any, fixed: Sequence[str]) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelError(
                f"{type(tokenizer).__name__} is not backed by the tokenizers library, which "
                "language models need here. Use a model folder that has a tokenizer.json."
            )
        state = json.loads(backend.to_str())
        # The template itself says where sequences begin and end.
        state.update(post_processor=None, truncation=None, padding=None)
        self.parsing = Tokenizer.from_str(json.dumps(state))
        control = []
        for token in state["added_tokens"]:
            # Added tokens that are no control tokens, such as runs of spaces, are plain text.
            content = token["content"]
            named = any(content in text for text in fixed) and any(c.isalpha() for c in content)
            if token["special"] or named:
                token["special"] = True
                control.append(token["id"])
        self.literal = Tokenizer.from_str(json.dumps(state))
        self.literal.encode_special_tokens = True
        unknown = tokenizer.unk_token_id
        self.control = np.array([i for i in control if i != unknown], np.int64)

    def parse(self, texts: Sequence[str]) -> list[_Tokens]:
        """Encodes texts in which control tokens are what they seem."""
        return [_tokens(e) for e in self.parsing.encode_batch(list(texts), False)]

    def spell(self, text: str) -> _Tokens:
        """Encodes a text in which nothing is a control token."""
        tokens = _tokens(self.literal.encode(text, add_special_tokens=False))
        # A vocabulary may hold a control token as a word like any other; no text may use it.
        kept = ~np.isin(tokens.ids, self.control)
        return _Tokens(tokens.ids[kept], tokens.begin[kept], tokens.end[kept])


def _tokens(encoding: Any) -> _Tokens:
    offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
    return _Tokens(np.asarray(encoding.ids, np.int64), offsets[:, 0], offsets[:, 1])


@dataclass(frozen=True)
class _Mark:
    """A control token that the template itself holds: in which literal, and where in it."""

    id: int
    literal: int
    begin: int
    end: int


class TemplateTokenizer:
    """Encodes (query, document) pairs inside a template, safely from any thread.

    Ids equal those of the whole text encoded at once, so that words join at the seams as they did
    in training. Texts with control tokens in them are the exception: see the module.

    Args:
        tokenizer: A transformers tokenizer; it is never changed.
        template: Used for calls without an instruction.
        instructed: Used for calls with one; None if the model takes no instructions.

    Raises:
        ModelError: The tokenizer has no ``tokenizers`` backend.
    """

    def __init__(
        self, tokenizer: Any, template: PromptTemplate, instructed: PromptTemplate | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.template = template
        self.instructed = instructed
        self._instruction = ""
        fixed = [*template.literals, *(instructed.literals if instructed is not None else ())]
        self._encoders = _Encoders(tokenizer, fixed)
        self._prepare(template)

    def _prepare(self, template: PromptTemplate) -> None:
        self._active = template
        marks = []
        for number, tokens in enumerate(self._encoders.parse(template.literals)):
            for i in np.flatnonzero(np.isin(tokens.ids, self._encoders.control)):
                mark = (int(x[i]) for x in (tokens.ids, tokens.begin, tokens.end))
                identifier, begin, end = mark
                marks.append(_Mark(identifier, number, begin, end))
        self._marks = marks
        self.overhead = len(self._encode([("", "")])[0][1].ids)

    @property
    def takes_instruction(self) -> bool:
        """Whether the template has a place for an instruction."""
        return self.instructed is not None and self.instructed.takes_instruction

    @property
    def special_tokens(self) -> int:
        """How many tokens at most a pair has beside those that `token_counts` tells."""
        return self.overhead + SEAMS

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text by itself, outside the template."""
        return [len(self._encoders.spell(text).ids) for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """For every token of a text by itself, where it begins and ends, in characters."""
        tokens = self._encoders.spell(text)
        return list(zip(tokens.begin.tolist(), tokens.end.tolist(), strict=True))

    def with_instruction(self, text: str) -> TemplateTokenizer:
        """The same with an instruction; this very object for an empty one.

        Raises:
            InputError: The model's template has no place for one.
        """
        if not text:
            return self
        if self.instructed is None or not self.takes_instruction:
            raise InputError(
                f"The prompt {text!r:.80} cannot be used: the template of this model has no place "
                "for an instruction. Pass a template with {instruction}, or leave the prompt out."
            )
        copy: TemplateTokenizer = object.__new__(TemplateTokenizer)
        copy.__dict__.update(self.__dict__)
        copy._instruction = text
        copy._prepare(self.instructed)
        return copy

    def encode(
        self, pairs: Sequence[tuple[str, str]], max_length: int, keep_end: bool = False
    ) -> TokenizedPairs:
        """Token ids of every pair, at most ``max_length`` each.

        Args:
            pairs: Queries and documents.
            max_length: Most tokens of a pair, the template's included.
            keep_end: Whether texts that are cut lose their beginnings instead of their ends.

        Raises:
            InputError: ``max_length`` leaves no room for a token beside the template's.
        """
        if max_length <= self.overhead:
            raise InputError(
                f"max_length={max_length} leaves no room for a query and a document: the template "
                f"alone takes {self.overhead} tokens. Use a larger max_length or a shorter "
                "template or instruction."
            )
        truncated = 0
        rows = []
        for rendered, tokens in self._encode(pairs):
            surplus = len(tokens.ids) - max_length
            truncated += surplus > 0
            cut = surplus > 0
            rows.append(_cut(tokens, rendered, surplus, keep_end) if cut else tokens.ids)
        return TokenizedPairs(rows, None, truncated)

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Rendered, _Tokens]]:
        contents = ({INSTRUCTION: self._instruction, QUERY: q, DOCUMENT: d} for q, d in pairs)
        rendered = [self._active.render(c) for c in contents]
        parsed = self._encoders.parse([r.text for r in rendered])
        return [
            (r, t if self._is_clean(r, t) else self._spelled(r))
            for r, t in zip(rendered, parsed, strict=True)
        ]

    def _is_clean(self, rendered: Rendered, tokens: _Tokens) -> bool:
        """Whether all control tokens are the template's own."""
        control = np.isin(tokens.ids, self._encoders.control)
        return tokens.ids[control].tolist() == [mark.id for mark in self._marks] and not bool(
            (control & tokens.overlapping(rendered.regions)).any()
        )

    def _spelled(self, rendered: Rendered) -> _Tokens:
        """The template's control tokens, and all between them encoded without any."""
        starts = [0, *(end for _, _, end in rendered.regions)]
        pieces: list[_Tokens] = []
        position = 0
        for mark in self._marks:
            begin = starts[mark.literal] + mark.begin
            pieces.append(self._section(rendered.text, position, begin))
            position = starts[mark.literal] + mark.end
            one = np.array([[mark.id], [begin], [position]], np.int64)
            pieces.append(_Tokens(one[0], one[1], one[2]))
        pieces.append(self._section(rendered.text, position, len(rendered.text)))
        return _Tokens(
            np.concatenate([p.ids for p in pieces]),
            np.concatenate([p.begin for p in pieces]),
            np.concatenate([p.end for p in pieces]),
        )

    def _section(self, text: str, begin: int, end: int) -> _Tokens:
        tokens = self._encoders.spell(text[begin:end])
        return _Tokens(tokens.ids, tokens.begin + begin, tokens.end + begin)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "tokenizer": self._tokenizer,
            "template": self.template,
            "instructed": self.instructed,
            "instruction": self._instruction,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        instruction = state.pop("instruction")
        self.__init__(**state)  # type: ignore[misc]
        if instruction:
            self.__dict__.update(self.with_instruction(instruction).__dict__)


def split_prompt(
    tokenizer: PairTokenizer | TemplateTokenizer, prompt: str
) -> tuple[PairTokenizer | TemplateTokenizer, str]:
    """Where a prompt goes: the tokenizer to use, and the text to put before every query.

    In a template it is the instruction; a plain pair has no other place than before the query.

    Raises:
        InputError: A template without a place for an instruction.
    """
    if isinstance(tokenizer, TemplateTokenizer):
        return tokenizer.with_instruction(prompt), ""
    return tokenizer, prompt


def _cut(tokens: _Tokens, rendered: Rendered, surplus: int, keep_end: bool) -> Ids:
    """Without ``surplus`` tokens: the document's last ones (or first), then the query's."""
    kept = np.ones(len(tokens.ids), bool)
    for slot in (DOCUMENT, QUERY):
        positions = tokens.inside(rendered.region(slot))
        taken = min(surplus, len(positions))
        kept[positions[:taken] if keep_end else positions[len(positions) - taken :]] = False
        surplus -= taken
    if surplus > 0:
        # Only tokens that the template and a text share are left.
        raise InputError(
            f"A pair is {surplus} tokens longer than max_length even without its query and "
            "document. Use a larger max_length."
        )
    return tokens.ids[kept]
