"""The worker of Sentence Transformers, run by its own environment's Python."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.deploy.worker import Pairs, Worker
from benchmarks.engine.worker import serve
from sentence_transformers import CrossEncoder

DEFAULT_BATCH = 32


class PeerWorker(Worker):
    """bfloat16 by loading the weights in it, which is what its documentation advises."""

    def load(self, folder: str, backend: str, precision: str) -> None:  # type: ignore[override]
        """See `Worker`."""
        kwargs: dict[str, Any] = {}
        if backend == "torch" and precision != "float32":
            kwargs["dtype"] = getattr(torch, precision)
        if backend == "openvino":
            kwargs["ov_config"] = {"INFERENCE_PRECISION_HINT": precision}
        self.model = CrossEncoder(
            folder, device="cpu", backend=backend, model_kwargs=kwargs, max_length=512
        )

    def scores(self, pairs: Pairs, batch: int | None) -> Any:
        """See `Worker`."""
        return self.model.predict(
            pairs,
            batch_size=batch or DEFAULT_BATCH,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        )

    def rank(self, query: str, documents: list[str], batch: int | None) -> None:
        """See `Worker`."""
        self.model.rank(
            query, documents, batch_size=batch or DEFAULT_BATCH, show_progress_bar=False
        )

    def do_convert(self, folder: str, target: str) -> dict[str, Any]:
        """Its own OpenVINO export, so that loading it again does not export again."""
        model = CrossEncoder(folder, device="cpu", backend="openvino", max_length=512)
        model.save_pretrained(target)
        return {}


if __name__ == "__main__":
    serve(PeerWorker())
