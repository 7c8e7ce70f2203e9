"""A well-sorted batch loop around ONNX Runtime or OpenVINO: what one writes without a library.

Pairs are sorted by length, each batch is padded to its longest pair, the engine uses all cores for
each batch, which is its default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.deploy.worker import Pairs, Worker
from benchmarks.engine.worker import serve
from tokenizers import Tokenizer

DEFAULT_BATCH = 32


class PlainWorker(Worker):
    """``file`` is a plain export of the whole transformers model."""

    def load(  # type: ignore[override]
        self, file: str, tokenizer: str, backend: str, precision: str
    ) -> None:
        """See `Worker`."""
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(512, strategy="longest_first")
        self.infer: Any = _onnx(file) if backend == "onnx" else _openvino(file, precision)

    def scores(self, pairs: Pairs, batch: int | None) -> Any:
        """See `Worker`."""
        encoded = self.tokenizer.encode_batch_fast(pairs)
        order = sorted(range(len(pairs)), key=lambda i: -len(encoded[i]))
        scores = np.empty(len(pairs), np.float32)
        step = batch or DEFAULT_BATCH
        for begin in range(0, len(order), step):
            index = order[begin : begin + step]
            shape = len(index), max(len(encoded[i]) for i in index)
            ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
            for row, i in enumerate(index):
                length = len(encoded[i])
                ids[row, :length] = encoded[i].ids
                types[row, :length] = encoded[i].type_ids
                mask[row, :length] = 1
            features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            scores[index] = self.infer(features)[:, 0]
        return scores


def _onnx(file: str) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda features: session.run(None, features)[0]


def _openvino(file: str, precision: str) -> Any:
    import openvino

    hint = "bf16" if precision == "bf16" else "f32"
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    request = compiled.create_infer_request()
    return lambda features: np.array(request.infer(features)[0])


if __name__ == "__main__":
    serve(PlainWorker())
