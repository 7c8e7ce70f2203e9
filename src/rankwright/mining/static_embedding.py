"""Static embeddings: a text's vector is the mean of one fixed vector per token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from rankwright.errors import ModelError, WeightsError
from rankwright.mining.arrays import FloatArray

__all__ = ["StaticVectors"]


class StaticVectors:
    """Texts to vectors with the ``StaticEmbedding`` part of an embedding model.

    There is no attention and nothing to pad: a token's vector is looked up, and a text gets the
    mean of its tokens' (zeros for a text without tokens), computed in float32.

    Args:
        folder: Holds ``tokenizer.json`` and ``model.safetensors`` with ``embedding.weight``
            ``(vocabulary, dimension)``.

    Raises:
        ModelError: No tokenizer that can be read.
        WeightsError: No such weights.
    """

    def __init__(self, folder: Path) -> None:
        where = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(where))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{where} cannot be read as a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self.weights = folder / "model.safetensors"
        try:
            tensors = load_file(self.weights)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{self.weights} cannot be read: {error}") from error
        table = tensors.get("embedding.weight")
        if table is None or table.ndim != 2 or len(table) < self._tokenizer.get_vocab_size():
            found = {name: tensor.shape for name, tensor in tensors.items()}
            raise WeightsError(
                f"{self.weights} holds {found}; expected 'embedding.weight' with a row for each of "
                f"the {self._tokenizer.get_vocab_size()} tokens."
            )
        self._table = table.astype(np.float32)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._table.shape[1])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """``(N, dimension)`` float32."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, encoding in zip(vectors, encodings, strict=True):
            if encoding.ids:
                row[:] = self._table[encoding.ids].mean(axis=0, dtype=np.float32)
        return vectors
