"""`InputExample`: a labelled pair, as programs for Sentence Transformers 3 and earlier write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwright.data.columns import input_columns, label_column
from rankwright.errors import ColumnError, InputTypeError, LabelError

__all__ = ["InputExample", "labelled_pair"]


@dataclass(eq=False)
class InputExample:
    """One training example.

    Attributes:
        guid: An id, which nothing reads.
        texts: The texts: for a reranker a query and a document.
        label: How relevant the document is, or the class of the pair.
    """

    guid: str = ""
    texts: list[str] | None = None
    label: int | float = 0

    def __str__(self) -> str:
        return f"<InputExample> label: {self.label}, texts: {'; '.join(self.texts or [])}"


def labelled_pair(item: Any) -> tuple[str, str, Any]:
    """Query, document and label of a training example in any of its forms.

    Spaces around texts are removed, as training from examples always did.

    Args:
        item: An `InputExample` (or anything with ``texts`` and ``label``), a tuple
            (query, document, label), or a mapping with two texts and a label.

    Raises:
        InputTypeError: None of these.
        ColumnError: Not two texts.
        LabelError: No label.
    """
    if hasattr(item, "texts") and hasattr(item, "label"):
        texts, label = item.texts, item.label
    elif isinstance(item, Mapping):
        column = label_column(list(item))
        texts = [item[name] for name in input_columns(list(item))]
        label = None if column is None else item[column]
    elif isinstance(item, tuple | list) and len(item) == 3:
        texts, label = item[:2], item[2]
    else:
        raise InputTypeError(
            f"a training example is {_show(item)}; write InputExample(texts=[query, document], "
            "label=1), or (query, document, label)."
        )
    if (
        not isinstance(texts, tuple | list)
        or len(texts) != 2
        or not all(isinstance(text, str) for text in texts)
    ):
        raise ColumnError(
            f"a training example needs two texts, a query and a document; found {_show(texts)}. "
            "For more documents per query use CrossEncoderTrainer with a loss for lists."
        )
    if label is None:
        raise LabelError(f"the training example {_show(texts)} has no label.")
    return texts[0].strip(), texts[1].strip(), label.item() if hasattr(label, "item") else label


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
