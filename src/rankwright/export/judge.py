"""Running an exported file on golden pairs, as a user will run it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankwright.engine.exported import Features, padded_features
from rankwright.engine.schedule import token_batches
from rankwright.engine.tokenize import PairTokenizer
from rankwright.export.agreement import Agreement, Limits, compare
from rankwright.model.exports import ExportEntry
from rankwright.model.golden import Golden
from rankwright.model.limits import position_limit
from rankwright.model.pairs import Pair
from rankwright.model.reranker import Reranker
from rankwright.model.runtime import Runtime, load_backend

__all__ = ["Judge", "ModelParts", "calibration_batches", "quiet_truncation"]


@dataclass(frozen=True)
class ModelParts:
    """What an exported model needs beside its file.

    Attributes:
        model: The `rankwright.CrossEncoder` it is made from.
        tokenizer: As it will be read from the folder.
    """

    model: Any
    tokenizer: PairTokenizer

    @property
    def pad_id(self) -> int:
        """Token id of padding."""
        return self.model.config.pad_token_id or 0

    def runtime(self, path: Path, entry: ExportEntry, threads: int | None) -> Runtime:
        """The file, loaded."""
        return Runtime(
            backend=load_backend(path, entry, threads),
            entry=entry,
            tokenizer=self.tokenizer,
            contract=self.model.contract,
            num_labels=self.model.num_labels,
            pad_id=self.pad_id,
            position_limit=position_limit(self.model.config.to_dict()),
        )


@dataclass(frozen=True)
class Judge:
    """Compares a candidate with the golden scores.

    Attributes:
        path: The candidate's file.
        entry: Its backend and precision.
        golden: The pairs.
        proof: Golden pairs and more, for nDCG@10; None where there are no more.
        parts: Tokenizer and contract.
        threads: How many batches run at once; None for all cores.
    """

    path: Path
    entry: ExportEntry
    golden: Golden
    proof: Golden | None
    parts: ModelParts
    threads: int | None

    def agreement(self, limits: Limits) -> Agreement:
        """With the reference, of the file as it is now.

        Golden pairs tell all but nDCG@10. If they keep their limits, the proof tells that; if not,
        it would be work for nothing.
        """
        model = self._load()
        found = self._compared(model, self.golden)
        if self.proof is None or not limits.accept(replace(found, ndcg_drop=0.0)):
            return found
        proven = self._compared(model, self.proof)
        return replace(
            found,
            ndcg_drop=proven.ndcg_drop,
            ndcg_error=proven.ndcg_error,
            queries=proven.queries,
        )

    def _compared(self, model: Reranker, golden: Golden) -> Agreement:
        with quiet_truncation():
            return compare(golden, model.score(golden.pairs, show_progress_bar=False).scores)

    def measure(self) -> tuple[str, float]:
        """In which number format this machine computes it, and pairs per second once warm."""
        reranker = self._load()
        with quiet_truncation():
            for _ in range(2):
                start = time.perf_counter()
                reranker.score(self.golden.pairs, show_progress_bar=False)
                seconds = time.perf_counter() - start
        return reranker.computes, len(self.golden.pairs) / seconds

    def _load(self) -> Reranker:
        return Reranker.from_runtime(self.parts.runtime(self.path, self.entry, self.threads))


def calibration_batches(parts: ModelParts, pairs: Sequence[Pair]) -> list[Features]:
    """Padded batches of pairs, with prompt and truncation as they will be at run time."""
    model = parts.model
    name = model.default_prompt_name
    prompt = model.prompts[name] if name else ""
    prompted = [(prompt + query, document) for query, document in pairs]
    tokens = parts.tokenizer.encode(prompted, model.max_length)
    names = {"input_ids", "attention_mask"}
    names |= set() if tokens.token_type_ids is None else {"token_type_ids"}
    return [
        padded_features(frozenset(names), tokens, index, parts.pad_id)
        for index in token_batches(tokens.lengths, 1024)
    ]


@contextlib.contextmanager
def quiet_truncation() -> Iterator[None]:
    """Without the warning about cut pairs, which was given when the reference was made."""
    logger = logging.getLogger("rankwright.model.scored")
    silent = logging.Filter("nothing")  # lets only a logger of this name through
    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)
