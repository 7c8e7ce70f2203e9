"""The worker of Sentence Transformers, run by its own environment's Python."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.engine.worker import Worker, serve
from sentence_transformers.cross_encoder import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    losses,
)

DEFAULT_BATCH = 32


class PeerWorker(Worker):
    """bfloat16 by loading the weights in it, which is what its documentation advises."""

    def open(self, precision: str, max_length: int | None = None) -> Any:
        """See `Worker`."""
        kwargs = {} if precision == "float32" else {"dtype": getattr(torch, precision)}
        return CrossEncoder(
            self.folder, device="cpu", model_kwargs=kwargs, max_length=max_length or 512
        )

    def scores(
        self, model: Any, pairs: list[tuple[str, str]], precision: str, batch: int | None
    ) -> Any:
        """See `Worker`."""
        return model.predict(
            pairs,
            batch_size=batch or DEFAULT_BATCH,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        )

    def rank(self, model: Any, query: str, documents: list[str], precision: str) -> Any:
        """See `Worker`."""
        return model.rank(query, documents, show_progress_bar=False)

    def trainer(self, model: Any, rows: Any, loss: dict[str, Any], arguments: Any) -> Any:
        """See `Worker`."""
        options = {name: value for name, value in loss.items() if name != "name"}
        return CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(**arguments),
            train_dataset=rows,
            loss=getattr(losses, loss["name"])(model, **options),
        )


if __name__ == "__main__":
    serve(PeerWorker())
