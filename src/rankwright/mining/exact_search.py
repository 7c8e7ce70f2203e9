"""The best inner products, exactly, in bounded memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rankwright.errors import MissingDependencyError
from rankwright.mining.arrays import FloatArray, IntArray

__all__ = ["SearchOptions", "exact_search", "faiss_search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchOptions:
    """Block sizes and device of a search.

    Attributes:
        query_block: Queries at a time.
        document_block: Documents at a time. At most ``query_block * document_block`` scores
            (64 MB at the defaults) are held at once.
        device: Where products are computed.
        show: Whether a progress bar is shown.
    """

    query_block: int = 1024
    document_block: int = 16384
    device: str = "cpu"
    show: bool = False


def exact_search(
    queries: FloatArray, documents: FloatArray, k: int, options: SearchOptions
) -> tuple[IntArray, FloatArray]:
    """The ``k`` documents with the largest inner product, ties in document order.

    Args:
        queries: ``(Q, dim)``.
        documents: ``(N, dim)``.
        k: How many to return per query.
        options: Block sizes and device.

    Returns:
        ``(Q, k)`` indices and ``(Q, k)`` scores, best first, padded with -1 and -inf beyond N.
    """
    indices = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    width = min(k, len(documents))
    # Queries are the inner loop's fixed part, so a mapped file of documents is read once per
    # block of queries and never held whole.
    starts = range(0, len(queries), options.query_block)
    for start in tqdm(starts, desc="Searching", disable=not options.show):
        stop = start + options.query_block
        block = _tensor(queries[start:stop], options.device)
        values, found = _search_block(block, documents, width, options)
        scores[start:stop, :width] = values.cpu().numpy()
        indices[start:stop, :width] = found.cpu().numpy()
    return indices, scores


def _search_block(
    queries: Tensor, documents: FloatArray, k: int, options: SearchOptions
) -> tuple[Tensor, Tensor]:
    values = queries.new_empty((len(queries), 0))
    found = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    for start in range(0, len(documents), options.document_block):
        block = _tensor(documents[start : start + options.document_block], options.device)
        new_values, new_found = _top(queries @ block.T, min(k, len(block)))
        values = torch.cat([values, new_values], dim=1)
        found = torch.cat([found, new_found + start], dim=1)
        # Earlier documents stand first, so the first of equal scores is the earliest.
        values, order = torch.sort(values, dim=1, descending=True, stable=True)
        values, found = values[:, :k], found.gather(1, order[:, :k])
    return values, found


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Like `torch.topk`, with ties by index, also at the edge."""
    values, found = torch.topk(scores, k, dim=1)
    edge = values[:, -1:]
    crowded = (scores >= edge).sum(dim=1) > k
    for row in torch.nonzero(crowded).flatten().tolist():
        above = torch.nonzero(scores[row] > edge[row]).flatten()
        level = torch.nonzero(scores[row] == edge[row]).flatten()[: k - len(above)]
        found[row] = torch.cat([above, level])
        values[row] = scores[row, found[row]]
    found, order = torch.sort(found, dim=1)
    values, by_value = torch.sort(values.gather(1, order), dim=1, descending=True, stable=True)
    return values, found.gather(1, by_value)


def faiss_search(
    queries: FloatArray, documents: FloatArray, k: int, options: SearchOptions
) -> tuple[IntArray, FloatArray]:
    """Like `exact_search`, through a flat inner-product index of FAISS.

    Raises:
        MissingDependencyError: FAISS is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError.for_package("faiss-cpu", "faiss", "use_faiss=True") from error
    index = faiss.IndexFlatIP(documents.shape[1])
    for start in range(0, len(documents), options.document_block):
        index.add(np.ascontiguousarray(documents[start : start + options.document_block]))
    indices = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    width = min(k, len(documents))
    starts = range(0, len(queries), options.query_block)
    for start in tqdm(starts, desc="Searching with FAISS", disable=not options.show):
        stop = start + options.query_block
        found = index.search(np.ascontiguousarray(queries[start:stop]), width)
        scores[start:stop, :width], indices[start:stop, :width] = found
    return indices, scores


def _tensor(array: FloatArray, device: str) -> Tensor:
    # A mapped file is read-only, which torch refuses to alias quietly: a block of it is copied.
    return torch.from_numpy(array if array.flags.writeable else np.array(array)).to(device)
