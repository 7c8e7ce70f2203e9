"""Chat templates, read and written as templates with slots.

A chat template is a program; what matters here is the text it puts around a query and a document.
It is rendered with marks in their place and taken apart at the marks. Rerankers' templates know
the roles ``query`` and ``document``, and ``system`` for the instruction; that is also what Sentence
Transformers renders. Templates of plain chat models get both in one message of the user.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rankwright.engine.templates import DOCUMENT, INSTRUCTION, QUERY, PromptTemplate
from rankwright.engine.two_tokens import TwoTokens
from rankwright.errors import ModelError
from rankwright.model.chat_files import ChatFiles
from rankwright.model.logit_score import spelling

__all__ = ["DEFAULT_INSTRUCTION", "Templates", "chat_template_of", "choose_templates"]

logger = logging.getLogger(__name__)

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""What Qwen3-Reranker was trained with; used where a call and a template name no instruction."""

# The wording of Qwen3-Reranker, which has become that of others.
_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "{true}" or "{false}".'
)
_USER = ("<Instruct>: ", "\n<Query>: ", "\n<Document>: ")

_MARKS = {INSTRUCTION: "INSTRUCTIONxq7", QUERY: "QUERYxq7", DOCUMENT: "DOCUMENTxq7"}
_TRICKY = ' "é" & <b>\n\n漢 \\n {x} %\t'

Contents = Mapping[str, str]


@dataclass(frozen=True)
class Templates:
    """How pairs are put to a model.

    Attributes:
        plain: For calls without an instruction.
        instructed: For calls with one; None if there is no place for it.
    """

    plain: PromptTemplate
    instructed: PromptTemplate | None = None


def choose_templates(
    tokenizer: Any, files: ChatFiles, tokens: TwoTokens | None, source: str | None
) -> Templates | None:
    """The templates of a model; None where query and document are encoded as a plain pair.

    In this order: the caller's own; none where the folder says that pairs are plain; the
    tokenizer's chat template if it is made for pairs; and for models scored by two tokens a
    message to the chat model, or the same words without a chat.

    Args:
        tokenizer: The model's tokenizer.
        files: What its folder says.
        tokens: What it is scored by; None for a model with a classification head.
        source: The caller's template, as `PromptTemplate.parse` takes it.

    Raises:
        InputError: The caller's template lacks a slot.
        ModelError: A chat template that changes the texts it is given.
    """
    if source is not None:
        return _with_default(PromptTemplate.parse(source))
    if files.messages is False:
        return None
    found = _from_roles(tokenizer, files.options, any_role=files.messages is True)
    if found is not None or tokens is None:
        return found
    return _with_default(_from_chat(tokenizer, tokens) or _without_chat(tokenizer, tokens))


def _with_default(template: PromptTemplate) -> Templates:
    if not template.takes_instruction:
        return Templates(template)
    return Templates(template.with_instruction(DEFAULT_INSTRUCTION), template)


def _from_roles(tokenizer: Any, options: Mapping[str, Any], any_role: bool) -> Templates | None:
    """A chat template that renders the roles of a pair; None if the tokenizer has none.

    Args:
        tokenizer: A transformers tokenizer.
        options: Arguments for rendering.
        any_role: Whether a template that renders messages of any role counts. Such a template
            does not know what a query is, but a model may have been trained with it.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    for as_parts in (False, True):

        def render(contents: Contents, roles: Mapping[str, str], parts: bool = as_parts) -> str:
            return _render(tokenizer, [(roles[k], v) for k, v in contents.items()], options, parts)

        known = {INSTRUCTION: "system", QUERY: "query", DOCUMENT: "document"}
        plain = _take_apart(lambda c: render(c, known), (QUERY, DOCUMENT))  # noqa: B023
        if plain is None:
            continue
        unheard = {QUERY: "zebra", DOCUMENT: "document"}
        if not any_role and _take_apart(lambda c: render(c, unheard), (QUERY, DOCUMENT)):  # noqa: B023
            return None
        all_slots = (INSTRUCTION, QUERY, DOCUMENT)
        return Templates(plain, _take_apart(lambda c: render(c, known), all_slots))  # noqa: B023
    return None


def _from_chat(tokenizer: Any, tokens: TwoTokens) -> PromptTemplate | None:
    """The question put to a chat model as a message of the user; None if it is none."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    system = _system(tokenizer, tokens)
    # Without these, models that can reason at length would be asked for their first thought.
    options = {"add_generation_prompt": True, "enable_thinking": False}

    def user(contents: Contents) -> str:
        slots = (INSTRUCTION, QUERY, DOCUMENT)
        return "".join(a + contents[b] for a, b in zip(_USER, slots, strict=True))

    def separate(contents: Contents) -> str:
        return _render(tokenizer, [("system", system), ("user", user(contents))], options)

    def joined(contents: Contents) -> str:  # some chat models know no system message
        return _render(tokenizer, [("user", f"{system}\n\n{user(contents)}")], options)

    for way in (separate, joined):
        found = _take_apart(way, (INSTRUCTION, QUERY, DOCUMENT))
        if found is not None and any(system in text for text in found.literals):
            return found
    raise ModelError(
        "The tokenizer's chat template renders neither a query and a document nor a message of "
        "the user. Pass template= with {instruction}, {query} and {document}."
    )


def _without_chat(tokenizer: Any, tokens: TwoTokens) -> PromptTemplate:
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = tokenizer("a")["input_ids"][:1] != bare[:1] and tokenizer.bos_token
    begin = f"{tokenizer.bos_token if starts else ''}{_system(tokenizer, tokens)}\n"
    return PromptTemplate(
        (begin + _USER[0], *_USER[1:], "\n<Answer>:\n"), (INSTRUCTION, QUERY, DOCUMENT)
    )


def _system(tokenizer: Any, tokens: TwoTokens) -> str:
    true = spelling(tokens.true_id, tokenizer)
    if tokens.false_id is None:
        return _SYSTEM.partition(" Note that")[0]
    return _SYSTEM.format(true=true, false=spelling(tokens.false_id, tokenizer))


def _render(
    tokenizer: Any,
    messages: list[tuple[str, str]],
    options: Mapping[str, Any],
    parts: bool = False,
) -> str:
    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if parts else text

    chat = [{"role": role, "content": content(text)} for role, text in messages]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, **options))


def _take_apart(render: Callable[[Contents], str], slots: tuple[str, ...]) -> PromptTemplate | None:
    """The template behind ``render``; None if it fails, or drops or repeats a slot.

    Raises:
        ModelError: It does something else with texts than to put them in a place.
    """
    marks = {slot: _MARKS[slot] for slot in slots}
    try:
        text = render(marks)
        wide = render({slot: f" \n{mark} \n" for slot, mark in marks.items()})
    # Chat templates raise whatever they like for messages they do not take.
    except Exception as error:
        logger.debug("A chat template does not take %s: %s", slots, error)
        return None
    pattern = re.compile("(" + "|".join(marks.values()) + ")")
    pieces = pattern.split(text)
    names = {mark: slot for slot, mark in marks.items()}
    found = tuple(names[mark] for mark in pieces[1::2])
    if sorted(found) != sorted(slots):
        return None
    stripped = frozenset(slot for slot, mark in marks.items() if f" \n{mark} \n" not in wide)
    template = PromptTemplate(tuple(pieces[0::2]), found, stripped)
    contents = {slot: f"{slot}{_TRICKY}" for slot in slots}
    if template.render(contents).text != render(contents):
        raise ModelError(
            "The tokenizer's chat template changes the texts it is given (it escapes, shortens or "
            "splits them), which is not supported. Pass template= with {instruction}, {query} and "
            "{document} instead."
        )
    return template


# --- writing ------------------------------------------------------------------------------------

_HEAD = """\
{%- set pair = namespace(system=none, query='', document='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{%- set pair.system = message['content'] -%}{%- endif -%}
{%- if message['role'] == 'query' -%}{%- set pair.query = message['content'] -%}{%- endif -%}
{%- if message['role'] == 'document' -%}{%- set pair.document = message['content'] -%}{%- endif -%}
{%- endfor -%}
"""
_VARIABLES = {INSTRUCTION: "pair.system", QUERY: "pair.query", DOCUMENT: "pair.document"}


def chat_template_of(tokenizer: Any, templates: Templates) -> str:
    """A chat template that renders pairs as ``templates`` do: the tokenizer's own if it does.

    Args:
        tokenizer: The model's tokenizer.
        templates: How pairs are put to the model.
    """
    own = getattr(tokenizer, "chat_template", None)
    flat = isinstance(own, str) and _from_roles(tokenizer, {}, any_role=True) == templates
    if flat and not any(mark in str(own) for mark in ("content[", "'type'", '"type"', ".type")):
        return str(own)
    plain = _expression(templates.plain)
    if templates.instructed is None:
        return _HEAD + plain
    instructed = _expression(templates.instructed)
    return f"{_HEAD}{{%- if pair.system -%}}\n{instructed}{{%- else -%}}\n{plain}{{%- endif -%}}\n"


def _expression(template: PromptTemplate) -> str:
    parts = [json.dumps(template.literals[0], ensure_ascii=False)]
    for slot, literal in zip(template.slots, template.literals[1:], strict=True):
        trim = " | trim" if slot in template.stripped else ""
        parts += (f"({_VARIABLES[slot]}{trim})", json.dumps(literal, ensure_ascii=False))
    return "{{- " + " ~ ".join(parts) + " -}}\n"
