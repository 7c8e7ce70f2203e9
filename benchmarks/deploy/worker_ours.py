"""The worker of Rankwright: PyTorch, or an exported model without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.deploy.worker import Pairs, Worker
from benchmarks.engine.worker import serve


def _identity(logits: Any) -> Any:
    return logits


class OurWorker(Worker):
    """`rankwright.CrossEncoder` for the backend "torch", else `rankwright.Reranker`."""

    def load(self, folder: str, backend: str, precision: str) -> None:  # type: ignore[override]
        """See `Worker`."""
        self.model: Any
        if backend == "torch":
            import torch

            from rankwright import CrossEncoder

            self.model = CrossEncoder(folder, device="cpu", precision=precision)
            self.identity: Any = torch.nn.Identity()
        else:
            from rankwright import Reranker

            self.model = Reranker(folder, backend=backend, precision=precision)
            self.identity = _identity

    def scores(self, pairs: Pairs, batch: int | None) -> Any:
        """See `Worker`."""
        found = self.model.score(
            pairs, batch_size=batch, show_progress_bar=False, activation_fn=self.identity
        )
        return np.asarray(found.scores)

    def rank(self, query: str, documents: list[str], batch: int | None) -> None:
        """See `Worker`."""
        self.model.rank(query, documents, show_progress_bar=False)


if __name__ == "__main__":
    serve(OurWorker())
