"""A model card and its pictures, in a folder, beside what is there already."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rankwright.model.card.data import CrossEncoderModelCardData
from rankwright.model.card.plots import CURVES_FILE, GAINS_FILE, draw_plots
from rankwright.model.card.render import is_untouched

__all__ = ["CARD_FILE", "GENERATED_FILE", "Card", "draw", "read_card", "write_card"]

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"
GENERATED_FILE = "README.generated.md"
"""Where a card goes that would replace one which somebody has edited."""


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        text: Of README.md.
        pictures: File name -> content of the PNG files that it shows.
    """

    text: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def draw(data: CrossEncoderModelCardData) -> tuple[dict[str, str], dict[str, bytes]]:
    """What the pictures show, and the pictures, both by file name."""
    with TemporaryDirectory() as folder:
        drawn = draw_plots(data, Path(folder))
        return drawn, {name: (Path(folder) / name).read_bytes() for name in drawn}


def read_card(folder: Path) -> Card | None:
    """The card in a model folder, with those pictures that are ours; None if there is none."""
    path = folder / CARD_FILE
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    pictures = {
        name: (folder / name).read_bytes()
        for name in (CURVES_FILE, GAINS_FILE)
        if f"]({name})" in text and (folder / name).is_file()
    }
    return Card(text, pictures)


def write_card(card: Card, folder: Path, target: Path) -> None:
    """Writes a card, and never over one that somebody has edited.

    Args:
        card: The card.
        folder: Where to write.
        target: The folder that the files will stand in, if that is another one.
    """
    name = CARD_FILE
    there = read_card(target)
    if there is not None and there.text != card.text and not is_untouched(there.text):
        name = GENERATED_FILE
        logger.warning(
            "%s was edited or comes from another program, so it is kept as it is. The card of "
            "the model that was saved is %s beside it.",
            target / CARD_FILE,
            GENERATED_FILE,
        )
    (folder / name).write_text(card.text, encoding="utf-8")
    for picture, content in card.pictures.items():
        (folder / picture).write_bytes(content)
