"""`EmbeddingModel`: texts to vectors, on the packed engine."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

from rankwright.engine.compiled import require_compiled
from rankwright.engine.encoders import build_encoder
from rankwright.engine.pack import pack
from rankwright.engine.precision import precision_context, resolve_precision
from rankwright.engine.schedule import token_batches
from rankwright.engine.scoring import default_token_budget
from rankwright.engine.tokenize import TextTokenizer
from rankwright.errors import InputError, InputTypeError, ModelError, WeightsError
from rankwright.mining.arrays import FloatArray
from rankwright.mining.embedding_layout import EmbeddingLayout, read_embedding_layout
from rankwright.mining.progress import bars_wanted
from rankwright.mining.static_embedding import StaticVectors
from rankwright.model.folder import ModelFolder
from rankwright.model.hub import HubOptions, full_name, local_folder
from rankwright.model.limits import default_max_length, position_limit
from rankwright.model.quiet import quiet_transformers
from rankwright.model.weights import find_weights

__all__ = ["EmbeddingModel", "SentenceTransformer"]

logger = logging.getLogger(__name__)

# Texts tokenised at a time, so that the ids of a large corpus are never held at once.
BLOCK = 16_384


class EmbeddingModel:
    """An embedding model of the Sentence Transformers kind, run without padding.

    Reads folders with modules.json (Transformer and Pooling, or StaticEmbedding, perhaps with
    Normalize) and plain transformers folders (mean pooling). Weights are safetensors only and no
    code of the folder is run. Embeddings agree with those of Sentence Transformers up to
    rounding. `rankwright.SentenceTransformer` is the same by another name.

    >>> model = EmbeddingModel("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> model.encode(["a text", "another"]).shape  # doctest: +SKIP
    (2, 384)

    Args:
        path_or_name: Folder, or name on the hub; a short name such as "all-MiniLM-L6-v2" is
            looked up under "sentence-transformers/".
        precision: Of the products: "float32", "bfloat16", "float16", "int16" or "auto".
        max_length: Tokens per text, the rest is cut off; None for what the folder says.
        device: None for a GPU where there is one.

    Raises:
        ModelNotFoundError: Neither a folder nor on the hub.
        ConfigError, ModelError, UnsafeModelError, WeightsError: The folder cannot be used.
        InputError: An unknown precision, or ``max_length`` beyond the model's positions.
    """

    model: Any = None
    tokenizer: Any = None
    max_length: Any = None

    def __init__(
        self,
        path_or_name: str | Path,
        precision: str = "float32",
        max_length: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        resolve_precision(precision, self.device)
        self.precision = precision
        self.name = str(path_or_name)
        root = ModelFolder(local_folder(_hub_name(path_or_name), HubOptions()))
        self._layout = read_embedding_layout(root)
        self._static = StaticVectors(self._layout.transformer.path) if self._layout.static else None
        if self._static is not None:
            self._weights: tuple[Path, ...] = (self._static.weights,)
            if max_length is not None:
                raise InputError("max_length: static embeddings read texts of any length.")
            return
        self._weights = tuple(find_weights(self._layout.transformer))
        self.model, self.tokenizer = _load(self._layout)
        self.model.to(self.device)
        self.max_length = _max_length(max_length, self._layout, self.model, self.tokenizer)
        self._tokenize = TextTokenizer(self.tokenizer)
        self._states = build_encoder(self.model)

    @property
    def prompts(self) -> dict[str, str]:
        """The folder's own prompts, by name."""
        return dict(self._layout.prompts)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        if self._static is not None:
            return self._static.dimension
        return int(self.model.config.hidden_size) * len(self._layout.pooling)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights and of every setting that embeddings depend on."""
        layout = self._layout
        digest = hashlib.blake2b(digest_size=16)
        settings = (layout.pooling, layout.normalize, layout.lower_case, self.max_length)
        if self._static is not None:
            digest.update(repr((settings, "static")).encode())
        else:
            digest.update(repr((settings, self.precision, self.tokenizer.name_or_path)).encode())
            digest.update(self.model.config.to_json_string().encode())
        for path in self._weights:
            with open(path, "rb") as file:
                while chunk := file.read(1 << 24):
                    digest.update(chunk)
        return digest.hexdigest()

    def encode_query(
        self,
        texts: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        **options: Any,
    ) -> Any:
        """`encode`, with the folder's "query" prompt where none is asked for."""
        if prompt is None and prompt_name is None and "query" in self._layout.prompts:
            prompt_name = "query"
        return self.encode(texts, prompt_name, prompt, show_progress_bar, **options)

    def encode_document(
        self,
        texts: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        **options: Any,
    ) -> Any:
        """`encode`, with the folder's "document", "passage" or "corpus" prompt likewise."""
        if prompt is None and prompt_name is None:
            names = ("document", "passage", "corpus")
            prompt_name = next((name for name in names if name in self._layout.prompts), None)
        return self.encode(texts, prompt_name, prompt, show_progress_bar, **options)

    def encode(
        self,
        texts: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        *,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """Embeddings of texts.

        Args:
            texts: N texts, or one.
            prompt_name: One of `prompts`, put before every text; None for the folder's default.
            prompt: The prompt itself; goes before ``prompt_name``.
            show_progress_bar: None: shown when the logger is at INFO or lower.
            batch_size: Most texts in one forward pass; None lets the number of tokens decide.
            normalize_embeddings: Whether to bring embeddings to length 1.
            convert_to_numpy: Whether to return an array, which is the default.
            convert_to_tensor: Whether to return a tensor on the model's device.

        Returns:
            ``(N, dimension)`` float32, in the order of ``texts``; ``(dimension,)`` for one text.
            An array, a tensor, or a list of tensors if both ``convert_to`` are False.

        Raises:
            InputTypeError: ``texts`` holds something else than strings.
            InputError: The model has no prompt of this name, or ``batch_size`` is below 1.
        """
        single = isinstance(texts, str)
        rows = [texts] if isinstance(texts, str) else list(texts)
        for index, text in enumerate(rows):
            if not isinstance(text, str):
                raise InputTypeError(
                    f"texts[{index}] is {text!r:.60} ({type(text).__name__}); expected a string."
                )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size={batch_size}; expected at least 1, or None.")
        prefix = self._prefix(prompt_name, prompt)
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        show = bars_wanted(show_progress_bar, logger)
        with tqdm(total=len(rows), unit="text", desc="Encoding", disable=not show) as bar:
            for start in range(0, len(rows), BLOCK):
                part = [prefix + text for text in rows[start : start + BLOCK]]
                self._encode_block(part, vectors[start : start + BLOCK], bar, batch_size)
        if normalize_embeddings:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        if convert_to_tensor:
            tensor = torch.from_numpy(vectors).to(self.device)
            return tensor[0] if single else tensor
        if convert_to_numpy:
            return vectors[0] if single else vectors
        tensors = list(torch.from_numpy(vectors).to(self.device))
        return tensors[0] if single else tensors

    def _prefix(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        name = prompt_name if prompt_name is not None else self._layout.default_prompt_name
        if name is None:
            return ""
        if name not in self._layout.prompts:
            raise InputError(
                f"{self.name} has no prompt named {name!r}; it has "
                f"{sorted(self._layout.prompts) or 'none'}. Pass prompt=... instead."
            )
        return self._layout.prompts[name]

    def _encode_block(
        self, texts: list[str], out: FloatArray, bar: tqdm[Any], batch_size: int | None
    ) -> None:
        if self._layout.lower_case:
            texts = [text.lower() for text in texts]
        if self._static is not None:
            out[:] = self._static.encode(texts)
            if self._layout.normalize:
                out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
            bar.update(len(texts))
            return
        require_compiled(self.precision, self._states.encoder)
        tokenized = self._tokenize.encode(texts, self.max_length)
        budget = default_token_budget(self.device)
        for index in token_batches(tokenized.lengths, budget, batch_size):
            batch = pack(tokenized, index)
            with torch.inference_mode(), precision_context(self.precision, self.device):
                states = self._states(batch)
            with torch.inference_mode():
                pooled = _pool(states.float(), batch.lengths, self._layout.pooling)
                if self._layout.normalize:
                    pooled = torch.nn.functional.normalize(pooled, dim=1)
            out[index] = pooled.cpu().numpy()
            bar.update(len(index))


class SentenceTransformer(EmbeddingModel):
    """`EmbeddingModel` under the name that programs for Sentence Transformers use."""


def _pool(states: Tensor, lengths: Tensor, modes: Sequence[str]) -> Tensor:
    """``(T, hidden)`` states of P texts to ``(P, hidden * modes)``."""
    lengths = lengths.to(states.device)
    ends = lengths.cumsum(0)
    pooled = []
    for mode in modes:
        if mode == "cls":
            pooled.append(states[ends - lengths])
        elif mode == "lasttoken":
            pooled.append(states[ends - 1])
        elif mode == "mean_sqrt_len_tokens":
            total = torch.segment_reduce(states, "sum", lengths=lengths)
            pooled.append(total / lengths.to(states.dtype).sqrt()[:, None])
        else:
            pooled.append(torch.segment_reduce(states, mode, lengths=lengths))
    return torch.cat(pooled, dim=1)


def _hub_name(path_or_name: str | Path) -> str | Path:
    text = str(path_or_name)
    short = "/" not in text and "\\" not in text and not Path(text).expanduser().exists()
    # A name that `full_name` leaves alone stands by itself on the hub.
    return f"sentence-transformers/{text}" if short and full_name(text) != text else path_or_name


def _load(layout: EmbeddingLayout) -> tuple[Any, Any]:
    folder = layout.transformer.path
    try:
        with quiet_transformers():
            model, report = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} cannot be loaded as an embedding model: {error}") from error
    # Poolers of BERT and its kin stand after the states used here and are often not saved.
    lost = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if lost:
        raise WeightsError(
            f"{folder}: the weights lack {len(lost)} tensors that config.json calls for, such as "
            f"{lost[0]!r}. Copy or download the model again."
        )
    return model.eval(), tokenizer


def _max_length(asked: int | None, layout: EmbeddingLayout, model: Any, tokenizer: Any) -> int:
    config = model.config.to_dict()
    limit = position_limit(config)
    if asked is not None:
        if asked < 3 or (limit is not None and asked > limit):
            raise InputError(
                f"max_length={asked} does not fit; expected at least 3"
                f"{'' if limit is None else f' and at most {limit}, the positions of this model'}."
            )
        return asked
    if layout.max_length is not None:
        return layout.max_length if limit is None else min(layout.max_length, limit)
    return default_max_length(getattr(tokenizer, "model_max_length", None), config)
