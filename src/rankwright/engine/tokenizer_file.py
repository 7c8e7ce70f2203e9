"""A tokenizer from ``tokenizer.json`` alone, without transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from rankwright.errors import ModelError

__all__ = ["FileTokenizer"]


class FileTokenizer:
    """What `rankwright.engine.tokenize.PairTokenizer` needs of a tokenizer.

    Args:
        backend: The tokenizer.
        with_types: Whether the model takes ``token_type_ids``.
    """

    def __init__(self, backend: Tokenizer, with_types: bool) -> None:
        self.backend_tokenizer = backend
        self.model_input_names = ["input_ids", "attention_mask"]
        if with_types:
            self.model_input_names.insert(1, "token_type_ids")

    @classmethod
    def read(cls, path: Path, with_types: bool) -> FileTokenizer:
        """From the file.

        Raises:
            ModelError: It is missing or cannot be parsed.
        """
        if not path.is_file():
            raise ModelError(
                f"{path} is missing, and without transformers a tokenizer is read from nothing "
                "else. Export the model again, which writes it."
            )
        try:
            return cls(Tokenizer.from_file(str(path)), with_types)
        except Exception as error:  # the tokenizers library raises plain Exceptions
            raise ModelError(
                f"{path} cannot be parsed: {error}. Export the model again."
            ) from error

    def __call__(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        truncation: bool,
        max_length: int | None = None,
        verbose: bool = False,
    ) -> dict[str, list[list[int]]]:
        """Token ids and segments as a transformers tokenizer gives them, without padding."""
        backend = Tokenizer.from_str(self.backend_tokenizer.to_str())  # truncation is state
        backend.no_padding()
        backend.no_truncation()
        if truncation and max_length is not None:
            backend.enable_truncation(max_length, strategy="longest_first")
        encodings = backend.encode_batch(list(zip(queries, documents, strict=True)))
        return {
            "input_ids": [encoding.ids for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
