"""MTEB: a reranker for its reranking and retrieval tasks; ``pip install 'rankwright[mteb]'``."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwright.errors import InputError
from rankwright.integrations.loading import Loading
from rankwright.integrations.scorer import PairScorer, missing_framework
from rankwright.model.exports import sample_fingerprint

try:
    from mteb.models.model_meta import ModelMeta
except ImportError as error:
    raise missing_framework(error, "mteb", "mteb", "mteb") from error

__all__ = ["RankwrightCrossEncoder"]

SCORING_FILES = (".safetensors", ".json", ".jinja", ".onnx", ".onnx_data", ".xml", ".bin")
FRAMEWORKS = {
    "auto": [],
    "torch": ["PyTorch"],
    "onnx": ["ONNX"],
    "openvino": ["OpenVINO"],
    "native": [],
}
HUB_OPTIONS = ("revision", "token", "cache_folder", "local_files_only")
PAIRS_AT_ONCE = 16_384
"""How many pairs are held and sorted by length together; texts of more would fill the memory."""


class RankwrightCrossEncoder:
    """A reranker as MTEB's ``CrossEncoderProtocol``: pass it to ``mteb.evaluate``.

    MTEB keeps results by model name and revision. A folder's revision is a fingerprint of its
    files, so that a model that was trained further is evaluated anew.

    Args:
        model_name: A folder or hub name, or a loaded `CrossEncoder` or `Reranker`.
        revision: Branch, tag or commit on the hub; else the name under which results are kept,
            None for a fingerprint.
        device: For a `CrossEncoder`; None picks the best there is.
        backend: ``"auto"``, ``"torch"``, ``"onnx"``, ``"openvino"`` or ``"native"``;
            see `rankwright.integrations.loading.Loading`.
        load_options: Further arguments of `CrossEncoder` or `Reranker`, such as ``max_length``.

    Raises:
        InputError: Options that cannot be used.
        InputTypeError: ``model_name`` is no model.
    """

    def __init__(
        self,
        model_name: Any,
        revision: str | None = None,
        device: str | None = None,
        *,
        backend: str = "auto",
        **load_options: Any,
    ) -> None:
        path = Path(model_name).expanduser() if isinstance(model_name, (str, Path)) else None
        if path is not None and not path.is_dir():
            load_options = {"revision": revision, **load_options}
        elif revision is None:
            revision = _model_print(model_name) if path is None else _folder_print(path)
        self._scorer = PairScorer(model_name, Loading(backend, device, load_options))
        settings = {k: str(v) for k, v in load_options.items() if k not in HUB_OPTIONS}
        self._meta = ModelMeta.create_empty(
            {
                "name": _result_name(self._scorer.name),
                "revision": revision,
                "loader": type(self),
                "model_type": ["cross-encoder"],
                "framework": FRAMEWORKS[backend],
                "experiment_kwargs": settings or None,
            }
        )

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Under which name and revision results are kept."""
        return self._meta

    def predict(
        self,
        inputs1: Iterable[Mapping[str, Any]],
        inputs2: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any = None,
        hf_split: str | None = None,
        hf_subset: str | None = None,
        prompt_type: Any = None,
        **encode_kwargs: Any,
    ) -> NDArray[np.float32]:
        """Scores pairs of texts.

        Args:
            inputs1: Batches with the queries under ``"text"``.
            inputs2: Batches with the documents under ``"text"``, one for each query.
            task_metadata: Not used: the model's own prompt is put before queries.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used.
            encode_kwargs: Of these ``batch_size`` and ``show_progress_bar`` are left to the
                model, which batches by tokens.

        Returns:
            ``(P,)`` scores.

        Raises:
            InputError: Other numbers of queries and documents, a batch without texts, or a
                ``precision`` for embeddings, of which a reranker has none.
            ScoreError: The model gave NaN.
        """
        if encode_kwargs.get("precision", "float32") != "float32":
            raise InputError(
                f"precision={encode_kwargs['precision']!r} is for embeddings, which a reranker "
                "does not make. Leave it out of encode_kwargs."
            )
        queries, documents = _texts(inputs1), _texts(inputs2)
        scores: list[float] = []
        while True:
            left, right = (list(islice(texts, PAIRS_AT_ONCE)) for texts in (queries, documents))
            if len(left) != len(right):
                raise InputError(
                    f"MTEB passed {len(scores) + len(left)} queries and at least "
                    f"{len(scores) + len(right)} documents; expected one document for each query."
                )
            if not left:
                return np.asarray(scores, np.float32)
            scores += self._scorer.scores(list(zip(left, right, strict=True)))


def _texts(batches: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for batch in batches:
        if "text" not in batch:
            raise InputError(
                f"A batch holds {', '.join(map(str, batch)) or 'nothing'}, but no texts; this "
                "reranker reads texts only. Choose tasks of text."
            )
        yield from batch["text"]


def _result_name(name: str) -> str:
    """MTEB's ``organisation/model``: a folder by its last part, for results to move with it."""
    path = Path(name).expanduser()
    if path.is_dir():
        return f"local/{path.resolve().name}"
    return name if "/" in name else f"local/{name}"


def _folder_print(path: Path) -> str:
    """Of all files that decide about scores, read in part: see `sample_fingerprint`."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")):
        if file.suffix in SCORING_FILES and file.is_file():
            digest.update(f"{file.relative_to(path)} {sample_fingerprint(file)}\n".encode())
    return digest.hexdigest()


def _model_print(model: Any) -> str:
    """A loaded model's: of its weights where they can be read, else one that no other has."""
    weights = getattr(getattr(model, "model", None), "state_dict", None)
    if weights is None:
        return uuid.uuid4().hex
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(weights().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
