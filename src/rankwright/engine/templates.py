"""What stands around a query and a document when a language model reads them.

A template is text with slots. It is plain data: where it comes from (a chat template, a caller)
is no concern of this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rankwright.errors import InputError

__all__ = ["DOCUMENT", "INSTRUCTION", "QUERY", "PromptTemplate", "Rendered"]

INSTRUCTION = "instruction"
QUERY = "query"
DOCUMENT = "document"

_SLOT = re.compile(r"\{(instruction|query|document)\}")


@dataclass(frozen=True)
class Rendered:
    """A filled template.

    Attributes:
        text: The whole text.
        regions: Slot by slot, in order: its name, and where its content begins and ends.
    """

    text: str
    regions: tuple[tuple[str, int, int], ...]

    def region(self, slot: str) -> tuple[int, int]:
        """Where the content of ``slot`` begins and ends."""
        return next((begin, end) for name, begin, end in self.regions if name == slot)


@dataclass(frozen=True)
class PromptTemplate:
    """Fixed texts and the slots between them: ``literals[0] slots[0] literals[1] ...``.

    Attributes:
        literals: One more than there are slots; may be empty texts.
        slots: ``"query"`` and ``"document"`` once each, in any order, and ``"instruction"``.
        stripped: Slots whose content loses the white space around it, as many chat templates do.

    Raises:
        InputError: Slots that are missing, repeated or unknown.
    """

    literals: tuple[str, ...]
    slots: tuple[str, ...]
    stripped: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for slot in (QUERY, DOCUMENT):
            if self.slots.count(slot) != 1:
                raise InputError(
                    f"The template has the {slot} {self.slots.count(slot)} times: "
                    f"{self.source!r:.200}. Expected {{query}} and {{document}} exactly once each, "
                    "and {instruction} where the task is described."
                )
        if set(self.slots) - {INSTRUCTION, QUERY, DOCUMENT}:
            raise InputError(f"Unknown slots in a template: {self.slots}.")
        if len(self.literals) != len(self.slots) + 1:
            raise InputError("A template has one literal more than slots.")

    @classmethod
    def parse(cls, source: str) -> PromptTemplate:
        """A template written as text with ``{instruction}``, ``{query}`` and ``{document}``.

        Any other braces stand for themselves.

        Raises:
            InputError: As for the class.
        """
        pieces = _SLOT.split(source)
        return cls(tuple(pieces[0::2]), tuple(pieces[1::2]))

    @property
    def source(self) -> str:
        """The template as `parse` takes it."""
        marks = [f"{{{slot}}}" for slot in self.slots]
        return "".join(a + b for a, b in zip(self.literals, [*marks, ""], strict=False))

    @property
    def takes_instruction(self) -> bool:
        """Whether it has a place for an instruction."""
        return INSTRUCTION in self.slots

    def with_instruction(self, text: str) -> PromptTemplate:
        """The same with its instruction written into the fixed text."""
        literals = [self.literals[0]]
        slots = []
        text = text.strip() if INSTRUCTION in self.stripped else text
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            if slot == INSTRUCTION:
                literals[-1] += text + literal
            else:
                slots.append(slot)
                literals.append(literal)
        return PromptTemplate(tuple(literals), tuple(slots), self.stripped - {INSTRUCTION})

    def render(self, contents: Mapping[str, str]) -> Rendered:
        """The template with its slots filled.

        Args:
            contents: Slot -> text, which is never looked at for slots itself.
        """
        pieces = [self.literals[0]]
        regions = []
        position = len(self.literals[0])
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            content = contents[slot].strip() if slot in self.stripped else contents[slot]
            regions.append((slot, position, position + len(content)))
            position += len(content) + len(literal)
            pieces += (content, literal)
        return Rendered("".join(pieces), tuple(regions))
